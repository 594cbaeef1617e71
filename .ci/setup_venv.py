"""Make the virtual environment what the committed pins say; do nothing when it already is.

Used by the Makefile: `python3 .ci/setup_venv.py VENV [EXTRA ...]`. Standard library only, and readable by old
Pythons, so that they get a message instead of a syntax error.

- A stamp in the environment holds a digest of all that shaped it: an equal digest means nothing to do.
- Every package is pinned and hash-checked; uv (itself pinned and hash-checked) does the work, pip if uv cannot.
- One installation at a time: others wait on a lock, then find the work done.
- An installation that did not finish leaves a marker behind; the next one starts the environment afresh
  (what was downloaded is in the installer's cache, so this is cheap).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 13)
LOCK = ".setup-lock"  # not `.lock`: uv takes that one itself and would wait for us
BASE_PINS = "constraints.txt"
EXTRA_PINS = "constraints-extras.txt"
INPUTS = (BASE_PINS, EXTRA_PINS, "pyproject.toml", ".ci/setup_venv.py")


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def say(text: str) -> None:
    """Writes one line of progress."""
    sys.stderr.write("[setup] " + text + "\n")
    sys.stderr.flush()


def check_python(version: tuple[int, int]) -> None:
    """Refuses an interpreter that the pins do not cover, or that cannot make environments.

    Args:
        version: Major and minor version.

    Raises:
        SetupError: With the command that helps.
    """
    name = "{}.{}".format(*version)
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f"Python {name} ({sys.executable}) is not supported: 3.11, 3.12 or 3.13 is needed. Install one (Debian 12 "
            "and later: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3.12 ..."
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(f"Python {name} lacks its venv module: apt-get install python{name}-venv")


def digest(extra: str | None) -> str:
    """Returns the SHA-256 of all that shapes the environment (its place too: scripts hold absolute paths)."""
    total = hashlib.sha256(f"{ROOT}\0{extra}".encode())
    for name in INPUTS:
        total.update(b"\0" + (ROOT / name).read_bytes())
    return total.hexdigest()


def stamp(venv: Path, extra: str | None) -> Path:
    """Returns the file that says which digest is installed."""
    return venv / f".installed-{extra or 'base'}"


def is_current(venv: Path, extra: str | None) -> bool:
    """Tells whether nothing has to be done."""
    path = stamp(venv, extra)
    return (venv / "bin/python").exists() and path.exists() and path.read_text() == digest(extra)


def run(*command: str | Path) -> bool:
    """Runs a command with its output shown; returns whether it succeeded."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.setdefault("UV_HTTP_TIMEOUT", "180")  # torch's wheels are large
    environment.pop("VIRTUAL_ENV", None)
    words = [str(part) for part in command]
    return subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode == 0  # noqa: S603 - own words only


def clear(venv: Path) -> None:
    """Empties the environment, but for the lock that is being held."""
    for entry in venv.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def pinned(name: str, pins: Path) -> str:
    """Returns one package's block (version and hashes) of a pins file."""
    lines = pins.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(name + "=="))
    end = start + 1
    while end < len(lines) and lines[end].startswith(" "):
        end += 1
    return "\n".join(lines[start:end]) + "\n"


def bootstrap(venv: Path) -> None:
    """Creates the environment where it is missing or without pip, and puts uv into it.

    Raises:
        SetupError: If the environment cannot be created.
    """
    python = venv / "bin/python"
    if not (python.exists() and run(python, "-c", "import pip")):
        say(f"creating {venv}")
        if not run(sys.executable, "-m", "venv", venv):
            raise SetupError(f"could not create {venv}: see the lines above")
    pins = venv / "uv.txt"
    pins.write_text(pinned("uv", ROOT / BASE_PINS))
    if not run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", pins):
        say("uv cannot be installed here; going on with pip, which is slower")


def install(venv: Path, *arguments: str) -> bool:
    """Installs with uv; with pip where uv is missing or fails (an index that only pip is set up for, say)."""
    python, uv = venv / "bin/python", venv / "bin/uv"
    # Bytecode now, as pip does it: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every start of torch
    # would otherwise compile it anew, which takes longer than loading it.
    if uv.exists() and run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *arguments):
        return True
    say("uv did not do it; trying pip")
    return run(python, "-m", "pip", "install", "--quiet", *arguments)


def install_base(venv: Path) -> None:
    """Installs the pinned packages and the project itself in editable form.

    Raises:
        SetupError: If that fails.
    """
    say("installing the pinned packages (torch alone is some gigabytes the first time)")
    if not install(venv, "--require-hashes", "-r", BASE_PINS):
        raise SetupError("the pinned packages could not be installed: see the lines above")
    if not install(venv, "--no-deps", "--no-build-isolation", "-e", "."):
        raise SetupError("the project could not be installed: see the lines above")


def install_extra(venv: Path, extra: str) -> None:
    """Adds one optional extra of pyproject.toml, from its own pins.

    Raises:
        SetupError: If that fails.
    """
    say(f"installing the extra {extra}")
    # deepspeed ships as source whose build asks for the torch that is already here.
    options = ["--no-build-isolation", "--require-hashes", "-c", EXTRA_PINS, "-r", "pyproject.toml"]
    options.append("--compile-bytecode")
    if not run(venv / "bin/uv", "pip", "install", "--python", venv / "bin/python", *options, "--extra", extra):
        raise SetupError(f"the extra {extra} could not be installed: see the lines above")


def ensure(venv: Path, extra: str | None) -> None:
    """Installs the base (extra None) or one extra unless its stamp is right; the lock is held by the caller."""
    if is_current(venv, extra):
        return
    marker = venv / ".installing"
    if marker.exists():
        say("the last installation did not finish: starting afresh")
        clear(venv)
        if extra:
            ensure(venv, None)
    marker.touch()
    if extra is None:
        bootstrap(venv)
        install_base(venv)
    else:
        install_extra(venv, extra)
    fresh = stamp(venv, extra).with_suffix(".new")
    fresh.write_text(digest(extra))
    fresh.replace(stamp(venv, extra))
    marker.unlink()


def main(argv: list[str] | None = None) -> int:
    """Brings the environment up to date; returns the exit status."""
    parser = argparse.ArgumentParser(description="make the virtual environment what the committed pins say")
    parser.add_argument("venv", type=Path, help="the environment's folder")
    parser.add_argument("extra", nargs="*", help="optional extras of pyproject.toml")
    arguments = parser.parse_args(argv)
    venv = (ROOT / arguments.venv).absolute()
    wanted: list[str | None] = [None, *arguments.extra]
    if all(is_current(venv, extra) for extra in wanted):
        return 0
    try:
        check_python(sys.version_info[:2])
        venv.mkdir(parents=True, exist_ok=True)
        with (venv / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for extra in wanted:
                ensure(venv, extra)
    except SetupError as error:
        sys.stderr.write(f"setup: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
