"""By what this process trains: code as it was loaded, packages, environment, machine.

Files are read when the process begins to import the package, and looked at again when it has loaded what it needs and
when it ends: whoever edits while a long run trains changes nothing of it, except in files that are loaded later.
"""

from __future__ import annotations

import hashlib
import site
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.runs.code import PACKAGE, can_change_results, digest_of, read_code, source_files
from tksbench.runs.files import write_bytes, write_json
from tksbench.runs.processor import INSTRUCTIONS, PORTABLE
from tksbench.runs.provenance import software
from tksbench.train.errors import TrainError
from tksbench.train.loaded import edited_packages, real_file, stale_bytecode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

    from tksbench.recipe import Execution
    from tksbench.runs.code import Code
    from tksbench.runs.paths import RunDir
    from tksbench.train.parallel import OneProcess

_WORKERS_LOAD = ("tksbench/data/", "tksbench/train/loading.py")  # data workers that are not forked import it anew
# What an interpreter loads before any code of ours: from elsewhere than Python's own folders it is somebody's.
_EARLY = sys.stdlib_module_names | {"sitecustomize", "usercustomize"}
_MAIN = ("__main__", "__mp_main__")  # what was started, and what that is called in a forked trainer
WORKERS_START = "fork" if sys.platform == "linux" else None
"""How data workers are started, however the trainer was: None is Python's own way.

A trainer that was itself forked from a server would hand the server's way on. Its workers would then be the server's
children: they would get the data set through a pipe, load the code anew, and not see the trainer end.
"""
Stamps = dict[str, tuple[int, ...]]


class Witness:
    """What the package's files were when this process loaded them.

    Make it before the modules are imported that train.

    Args:
        package: Folder of the package.
    """

    def __init__(self, package: Path = PACKAGE) -> None:
        self._package = package
        self._stamps = _stamps(package)
        self._loaded = set(_loaded(package))
        self._modules = dict(sys.modules)
        self._late: set[str] = set()
        self.code: Code = read_code(package)

    def look(self, workers: bool = False) -> list[str]:
        """Look at the files again; returns those that were written before they were loaded, ever.

        Args:
            workers: Whether processes that read data load their modules from the disk while the run trains.
        """
        now, loaded = _stamps(self._package), set(_loaded(self._package))
        for path in now.keys() | self._stamps.keys():
            if now.get(path) == self._stamps.get(path) or not can_change_results(path, self._package.name):
                continue
            by_workers = workers and path.startswith(_WORKERS_LOAD)
            if by_workers or not path.endswith(".py") or path in loaded - self._loaded:
                self._late.add(path)
        self._loaded |= loaded
        return sorted(self._late)

    def check_compiled(self) -> None:
        """Make sure that this process has loaded the package's files as they are, and no older form of them.

        Raises:
            TrainError: Python has kept what it compiled of a file that has other content now.
        """
        top = self._package.parent
        stale = stale_bytecode(str(top / path) for path in _loaded(self._package))
        if stale:
            raise TrainError(
                f"Python has loaded an older form of code that was edited; remove it: rm {' '.join(stale)}"
            )

    def strays(self) -> dict[str, Path]:
        """Python files from elsewhere than the package and the installed packages, by module.

        Of what was loaded before, only those that an interpreter begins with: they may change all that follows.
        """
        installed = (f"{self._package}/", *_installed())
        found = {}
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            early = name.partition(".")[0] in _EARLY
            if (self._modules.get(name) is module and not early) or name in _MAIN:
                continue
            if not isinstance(file, str) or not file.endswith(".py") or file.startswith(installed):
                continue
            if not early and ("site-packages" in file or "dist-packages" in file):
                continue  # wherever PYTHONPATH and modules of a cluster have them
            path = Path(file).resolve()
            if path.is_file() and not str(path).startswith(installed):
                found[name] = path
        return found


def attempt_origin(
    witness: Witness,
    recipe: Path,
    device: torch.device,
    parallel: OneProcess,
    variables: Mapping[str, str],
    portable: bool = False,
) -> tuple[dict[str, Any], Code]:
    """What an attempt's row says of code and setup, and the code.

    Args:
        witness: Of this process.
        recipe: The run's recipe, whose changes count where it lies in the checkout.
        device: Where the run is trained.
        parallel: The processes that share it.
        variables: Of the environment, those that stay and can change bits.
        portable: Whether no processor decides about the run's bits.
    """
    import torch

    from tksbench.train.machine import describe_machine

    strays, loaded = witness.strays(), witness.code
    now = read_code(others=[*strays.values(), recipe])
    if (now.commit, now.files) == (loaded.commit, loaded.files):
        loaded = now  # which knows of what lies beside the package, too
    known = {path for path in strays.values() if now.commit and path.is_relative_to(PACKAGE.parent)}
    known -= {PACKAGE.parent / path for path in now.changed} if loaded is not now else set()
    setup = {
        **software(),
        "devices": parallel.device_names(device),
        "threads": torch.get_num_threads(),
        "processes": parallel.size,
        "nodes": parallel.nodes,
        "environment": dict(variables),
        "machine": describe_machine(device, variables),
        "outside": _by_package({name: path for name, path in strays.items() if path not in known}) | edited_packages(),
    }
    if portable and not variables and parallel.size == 1 and setup["machine"].get("instructions") == INSTRUCTIONS:
        setup["machine"]["bits"] = PORTABLE
    if len(parallel.processors) > 1:
        setup["machine"]["processors"] = "; ".join(parallel.processors)
    setup["devices"] = setup["devices"] or [setup["machine"]["processor"]]
    row = {"commit": loaded.commit, "dirty": loaded.dirty, "code": loaded.digest, "patch": patch_name(loaded)}
    return row | {"setup": setup}, loaded


def keep_code(run_dir: RunDir, code: Code) -> None:
    """Keep the checksums of the code's files in the run's directory, and the uncommitted changes, once for each code.

    Raises:
        LedgerError: If they cannot be written.
    """
    if not run_dir.code(code.digest).exists():
        write_json(run_dir.code(code.digest), dict(code.files))
    name = patch_name(code)
    if name and not run_dir.patch(name).exists():
        write_bytes(run_dir.patch(name), code.patch.encode())


def patch_name(code: Code) -> str | None:
    """A name for the uncommitted changes, by their content; None where there are none."""
    return hashlib.sha256(code.patch.encode()).hexdigest()[:16] if code.patch else None


def check_same_code(parallel: OneProcess, code: Code) -> None:
    """Make sure that all processes of a run are of the same code; all of them must ask.

    Raises:
        TrainError: This process's is not the leading one's.
    """
    leading: Mapping[str, str] = parallel.from_lead(lambda: dict(code.files))
    if leading != code.files:
        from tksbench.runs.code import differing, shown

        files = shown(differing(leading, code.files))
        raise TrainError(f"process {parallel.rank} has other code than process 0 ({files}): install the same on all")


def workers_load(execution: Execution) -> bool:
    """Whether data workers of a run import the package from the disk, each time they start."""
    return execution.workers > 0 and WORKERS_START != "fork"


def _stamps(package: Path) -> Stamps:
    """What changes whenever somebody writes a file, also the same content again, by path."""
    found: Stamps = {}
    for path in source_files(package):
        try:
            about = (package.parent / path).stat()
        except OSError:
            continue
        found[path] = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    return found


def _loaded(package: Path) -> Iterator[str]:
    """Paths of the package's modules that this process has imported."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == package.name and isinstance(file, str):
            path = Path(real_file(file))
            if path.is_relative_to(package):
                yield str(path.relative_to(package.parent))


def _by_package(modules: Mapping[str, Path]) -> dict[str, str]:
    """A digest of the files of each package, or of a module that belongs to none, by name."""
    files: dict[str, dict[str, str]] = {}
    for name, path in sorted(modules.items()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        files.setdefault(name.partition(".")[0], {})[name] = content
    return {name: digest_of(parts) if len(parts) > 1 else parts.popitem()[1] for name, parts in files.items()}


def _installed() -> Sequence[str]:
    """Folders of Python itself and of installed packages."""
    paths = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    paths |= {sys.prefix, sys.base_prefix, sys.exec_prefix}
    paths |= {str(Path(path).resolve()) for path in paths}
    return [f"{path.rstrip('/')}/" for path in paths if path != "/"]
