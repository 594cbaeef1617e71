"""Builds a C file of this package with the machine's own compiler when it is first needed, and loads it.

Torch's own pool of threads does the work: a library is linked without an OpenMP runtime of its own and finds the one
that torch has loaded. Whoever asks has a plain torch form for machines without a compiler.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

log = logging.getLogger("tksbench.snn")
_FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC")
_TIMEOUT_S = 120
_DIGEST = hashlib.sha256().digest_size
_loaded: dict[str, tuple[str, str]] = {}  # compiler and flags of each library of this process, by its name


def load(name: str, flags: tuple[str, ...], purpose: str) -> tuple[ctypes.CDLL | None, str]:
    """Load a C file of this folder as a library.

    Args:
        name: Its name without the suffix.
        flags: What the compiler is given beside what all files have in common.
        purpose: What it is for, for the log.

    Returns:
        The library, or None where it cannot be had; and why not, which is logged too.
    """
    _loaded[name] = ("none", "")
    try:
        compiler, version = _find()
        # Torch has loaded the OpenMP runtime that the library is going to use.
        path = _build(Path(__file__).with_name(f"{name}.c"), compiler, version, (*_FLAGS, *flags))
        library = ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: a user without a home
        why = _first_line(error)
        log.info("the compiled %s is not available (%s); plain torch does its work", purpose, why)
        return None, why
    _loaded[name] = (version, " ".join(flags))
    return library, ""


def describe() -> dict[str, str]:
    """Compiler and flags of the libraries that this process has asked for; empty if it has asked for none."""
    if not _loaded:
        return {}
    versions = dict.fromkeys(version for version, _ in _loaded.values())
    flags = [f"{name} {flags}" for name, (_, flags) in sorted(_loaded.items()) if flags]
    return {"compiler": ", ".join(versions), "compiler_flags": "; ".join([" ".join(_FLAGS), *flags]) if flags else ""}


def _find() -> tuple[str, str]:
    """The compiler's path, and the first line that it prints about its version.

    Raises:
        OSError: There is none.
        subprocess.SubprocessError: It fails.
    """
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler: install gcc, or name one with CC")
    printed = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603
    return compiler, (printed.stdout.splitlines() or [Path(compiler).name])[0]


def _build(source: Path, compiler: str, version: str, flags: tuple[str, ...]) -> Path:
    """Compile unless the same compiler did that before on a processor like this one.

    Raises:
        OSError: There is nowhere to put the result.
        subprocess.SubprocessError: The compiler fails.
    """
    ways = (*flags, compiler, version, _processor())
    key = hashlib.sha256("\0".join(ways).encode() + source.read_bytes()).hexdigest()
    path = _cache() / f"{source.stem}-{key[:16]}.so"
    if _is_whole(path):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{source.stem}-", dir=path.parent) as folder:
        unlinked, linked = Path(folder, "unlinked.o"), Path(folder, "linked.so")
        for command in (
            [compiler, *flags, "-c", str(source), "-o", str(unlinked)],
            [compiler, "-shared", str(unlinked), "-o", str(linked)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603
        built = linked.read_bytes()
        # A loader does not look behind what the header describes.
        linked.write_bytes(built + hashlib.sha256(built).digest())
        linked.replace(path)
    return path


def _is_whole(path: Path) -> bool:
    """Whether a library is as it was built: a part of one, which a full disk or a crash leaves, kills who loads it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def _cache() -> Path:
    """The user's cache folder, as the XDG base directory specification has it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tksbench"


def _processor() -> str:
    """What `-march=native` depends on: a home folder may be shared by machines that differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(
        {line.partition(":")[0].strip(): line for line in lines if line.startswith(("model name", "flags"))}.values()
    )


def _first_line(error: Exception) -> str:
    told = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return next((line for line in (told or "").splitlines() if "error" in line.lower()), (told or repr(error)).strip())
