"""Which code trains: the package's files by their content, and what no commit has of them.

A commit alone does not say it. Files may be changed, added or ignored by git, and changed back while a run is broken
off. So the files themselves are read, and compared with those of the commit.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, overload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

PACKAGE = Path(__file__).resolve().parents[1]
_GIT_S = 20  # seconds a git command may take
_OF_A_HOOK = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}  # git's own for its hooks: another checkout's
_LEFTOVERS = (".md", ".orig", ".rej", ".swp", "~")  # of editors, and prose: nothing reads them
# Folders, and modules beside them, that only plan, start, show and compare runs. Everything else counts as able to
# change a result, new folders too.
_CANNOT_CHANGE_RESULTS = (
    *(
        "__init__.py",
        "__main__.py",
        "atomic.py",
        "cli.py",
        "devices.py",
        "diff.py",
        "errors.py",
        "exits.py",
        "process.py",
        "progress.py",
        "rerun.py",
        "tables.py",
        "text.py",
        "version.py",
    ),
    *("data/__main__.py", "doctor/", "estimate/", "launch/", "report/", "runs/"),
)


@dataclass(frozen=True)
class Code:
    """The code as it lies on the disk.

    Attributes:
        files: SHA-256 of each file that can change a result, 16 hexadecimal digits, by its path from the checkout.
        commit: The checkout's commit; None outside one.
        changed: The package's files, and others that were asked for, that are not what the commit has.
        patch: What `git apply` turns the commit into this code with, new files included.
    """

    files: Mapping[str, str]
    commit: str | None = None
    changed: tuple[str, ...] = ()
    patch: str = field(default="", repr=False)

    @property
    def dirty(self) -> bool | None:
        """Whether anything is not what the commit has; None without a commit."""
        return None if self.commit is None else bool(self.changed)

    @property
    def digest(self) -> str:
        """A name for the content of `files`: 16 hexadecimal digits."""
        return digest_of(self.files)


def read_code(package: Path | None = None, others: Iterable[Path] = ()) -> Code:
    """Read the package, and ask git about it.

    Args:
        package: Its folder. Only a checkout that tracks it counts, so that a copy installed inside some other
            repository does not borrow that one's commit.
        others: Files beside the package that have a part in a result; those outside the checkout are passed over.
    """
    package = package or PACKAGE
    top = package.parent
    paths = source_files(package)
    files = hashes(top, (path for path in paths if can_change_results(path, package.name)))
    if _git(top, "ls-files", "--error-unmatch", f"{package.name}/__init__.py") is None:
        return Code(files)
    commit = _git(top, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return Code(files)
    beside = [os.path.relpath(path, top) for path in others if path.resolve().is_relative_to(top)]
    changed, patch = _uncommitted(top, package.name, [*paths, *beside])
    return Code(files, commit.strip(), changed, patch)


def source_files(package: Path | None = None) -> list[str]:
    """Paths of the package's files from the folder that it lies in, sorted: whatever Python or the package may read."""
    package = package or PACKAGE
    found = []
    for folder, folders, names in os.walk(package):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        kept = [name for name in names if not name.startswith(".") and not name.endswith(_LEFTOVERS)]
        found += [os.path.relpath(Path(folder, name), package.parent) for name in kept]
    return sorted(found)


def can_change_results(path: str, package: str = "tksbench") -> bool:
    """Whether a file of the package, by its path from the checkout, has a part in what a run computes."""
    inner = path.removeprefix(f"{package}/")
    if inner.endswith(_LEFTOVERS):
        return False
    return not inner.startswith(_CANNOT_CHANGE_RESULTS)


def hashes(top: Path, paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files below a folder, 16 hexadecimal digits, by path; one that cannot be read has none."""
    found = {}
    for path in paths:
        try:
            found[path] = hashlib.sha256((top / path).read_bytes()).hexdigest()[:16]
        except OSError:
            continue
    return found


def digest_of(files: Mapping[str, str]) -> str:
    """A name for a set of files with their contents, 16 hexadecimal digits."""
    listed = "".join(f"{path} {content}\n" for path, content in sorted(files.items()))
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[str, ...]:
    """Paths whose content is not the same in both, sorted."""
    return tuple(sorted(path for path in first.keys() | second.keys() if first.get(path) != second.get(path)))


@cache
def files_here() -> Mapping[str, str]:
    """The files that can change a result, as they are here when this is first asked for."""
    return hashes(PACKAGE.parent, (path for path in source_files() if can_change_results(path)))


@cache
def changed_since(commit: str) -> tuple[str, ...] | None:
    """Files that can change a result and are not here as a commit has them; None if this checkout lacks the commit."""
    then, now = _blobs(commit), _blobs("HEAD")
    if then is None or now is None:
        return None
    changed = {*differing(then, now), *_changed_here()}
    return tuple(sorted(path for path in changed if can_change_results(path) and not _is_left_out(path)))


@cache
def _changed_here() -> tuple[str, ...]:
    return _uncommitted(PACKAGE.parent, PACKAGE.name, source_files())[0]


def _blobs(commit: str) -> dict[str, str] | None:
    """What git calls the content of each of the package's files in a commit, by path."""
    listed = _git(PACKAGE.parent, "ls-tree", "-r", "-z", commit, "--", PACKAGE.name)
    if not listed:
        return None
    rows = (row.split("\t", 1) for row in listed.split("\0") if row)
    return {path: about.split()[2] for about, path in rows}


@cache
def on_a_branch(commit: str) -> bool | None:
    """Whether a branch or tag, of this checkout or a remote, has a commit; None if this checkout lacks the commit."""
    where = ("refs/heads", "refs/remotes", "refs/tags")
    found = _git(PACKAGE.parent, "for-each-ref", "--count=1", "--contains", commit, *where)
    return None if found is None else bool(found)


def edited_files(patch: str) -> tuple[str, ...]:
    r"""Paths of the files that a patch changes, in its order.

    >>> edited_files("diff --git a/recipes/new b/recipes/new\nnew file mode 100644\n")
    ('recipes/new',)
    """
    return tuple(re.findall(r"^diff --git a/(\S+) b/", patch, re.MULTILINE))


@cache
def contents_of(commit: str) -> Mapping[str, str] | None:
    """SHA-256 of each of the package's files in a commit, as `hashes` has it; None if the commit is not here."""
    packed = _git(PACKAGE.parent, "archive", "--format=tar", commit, "--", PACKAGE.name, text=False)
    if not packed:
        return None
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                found[member.name] = hashlib.sha256(file.read()).hexdigest()[:16]
    return found


def shown(paths: Collection[str], most: int = 3) -> str:
    """The paths for people, as seen from the package's folder; of many, the folders.

    >>> shown(["tksbench/snn/losses.py"])
    'snn/losses.py'
    >>> shown(["tksbench/snn/losses.py", "tksbench/snn/vgg.py", "tksbench/train/loop.py", "tksbench/metrics.py"])
    '4 files: metrics.py, snn/ (2), train/ (1)'
    """
    short = sorted(path.removeprefix("tksbench/") for path in paths)
    if len(short) <= most:
        return ", ".join(short)
    folders = Counter(path[: path.find("/") + 1] or path for path in short)
    listed = (f"{name} ({count})" if name.endswith("/") else name for name, count in sorted(folders.items()))
    return f"{len(short)} files: {', '.join(listed)}"


def _is_left_out(path: str) -> bool:
    parts = Path(path).parts
    return any(part.startswith(".") or part == "__pycache__" for part in parts) or path.endswith(_LEFTOVERS)


def _uncommitted(top: Path, package: str, paths: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """Which of these files, and of the commit's own below the package, are not the commit's, and the patch.

    The checkout's own index is not asked: it may be set to overlook files. A fresh one is made of the commit
    and of the files as they are; it and what git stores for it are thrown away.
    """
    listed = _git(top, "ls-tree", "-r", "--name-only", "-z", "HEAD", "--", package) or ""
    tracked = {path for path in listed.split("\0") if path and not _is_left_out(path)}
    names = "\0".join(sorted(tracked.union(paths)))
    with tempfile.TemporaryDirectory(prefix="tksbench-index-") as folder:
        index = Path(folder, "index")
        if _git(top, "read-tree", "HEAD", index=index) is None:
            return ("the commit cannot be read",), ""
        if _git(top, "update-index", "--add", "--remove", "-z", "--stdin", index=index, given=names + "\0") is None:
            return ("the files cannot be compared with the commit",), ""
        diff = ("diff", "--cached", "--relative", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
        changed = _git(top, *diff, "--name-only", "-z", "HEAD", index=index) or ""
        if not changed:
            return (), ""
        plain = ("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c", "core.quotePath=true")
        patch = _git(top, *plain, *diff, "--binary", "--full-index", "HEAD", index=index)
    return tuple(path for path in changed.split("\0") if path), patch or ""


@overload
def _git(folder: Path, *words: str, index: Path | None = None, given: str | None = None) -> str | None: ...
@overload
def _git(folder: Path, *words: str, text: Literal[False]) -> bytes | None: ...
def _git(
    folder: Path, *words: str, index: Path | None = None, given: str | None = None, text: bool = True
) -> str | bytes | None:
    """Output of a git command, or None if git is absent, slow, or refuses.

    Args:
        folder: Where it runs.
        words: The command.
        index: An index of its own, in a folder that also takes the objects that git writes.
        given: Its standard input.
        text: Whether the output is text; bytes else.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    if index is not None:
        store = _git(folder, "rev-parse", "--git-path", "objects")
        if store is None:
            return None
        objects = index.parent / "objects"
        objects.mkdir(exist_ok=True)
        former = os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")
        known = os.pathsep.join(filter(None, (str((folder / store.strip()).resolve()), former)))
        environment |= {"GIT_INDEX_FILE": str(index), "GIT_OBJECT_DIRECTORY": str(objects)}
        environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = known
    try:
        command = ["git", "-C", str(folder), *words]
        done = subprocess.run(  # noqa: S603 - fixed words and file names, no shell
            command,
            capture_output=True,
            text=text,
            errors="replace" if text else None,
            input=given,
            timeout=_GIT_S,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return cast("str | bytes", done.stdout) if done.returncode == 0 else None
