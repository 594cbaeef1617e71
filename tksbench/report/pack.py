"""One archive for reviewers, equal to the byte whenever it is made of the same records; and its verification elsewhere.

A pack holds the published records, each one's spec, the files that it was made from where they are on this machine
(per-step logits, labels, logs), the tables, and what they were built with: paper.yaml, recipes, pinned versions.
Verification trusts nothing in it: it is unpacked as any archive from outside, its recipes and paper.yaml are compared
with those of the checkout and never read, and the tables are built again from the records.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tksbench.atomic import replacing
from tksbench.data.archives import unpacked
from tksbench.report.evidence import gather
from tksbench.report.groups import ReportError, recipes_in
from tksbench.report.publish import doubts
from tksbench.runs import Ledger, RunDir, sha256_file
from tksbench.runs.code import read_code
from tksbench.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record

    Render = Callable[[Evidence], Mapping[str, bytes]]  # all table files, by name

TOP, SUMS = "tksbench-pack", "SHA256SUMS"
PINS = ("constraints.txt", "constraints-extras.txt")
_ZIPPED = (".tar.gz", ".tgz")
_MAX_SUMS = 100_000_000  # bytes; a hundred thousand runs need less


class Packed(NamedTuple):
    """What `pack` has written: SHA-256 of the archive, records in it, and why some are without their files."""

    sha256: str
    records: int
    without: list[str]


def pack(path: Path, ledger: Ledger, evidence: Evidence, render: Render) -> Packed:
    """Write the archive.

    Args:
        path: Where to; its name ends in .tar, .tar.gz or .tgz, and it must not exist.
        ledger: The results folder.
        evidence: From `evidence.gather`; only what is published goes in.
        render: Makes the table files.

    Raises:
        ReportError: The name does not fit, the file exists, nothing is published, or it cannot be written.
    """
    if not path.name.endswith((".tar", *_ZIPPED)):
        raise ReportError(f"--pack {path}: expected a name that ends in .tar, .tar.gz or .tgz")
    if path.exists():
        raise ReportError(f"--pack {path}: exists already; remove it or choose another name")
    if not evidence.published:
        raise ReportError(
            f"--pack: no record is published under {ledger.root}; first: python -m tksbench.tables --publish"
        )
    files: dict[str, Path | bytes] = {name: file for name, file in _checkout(ledger.root).items()}
    without = []
    for record in evidence.published:
        published, run_dir = ledger.published(record.id), ledger.run_dir(record.id)
        files[f"results/records/{record.id}.json"] = published
        files[f"specs/{record.id}.json"] = _spec(record)
        lacking = _lacking(published, run_dir)
        if lacking:
            without.append(f"{record.id}: {lacking}")
            continue
        for file in (run_dir.record, *(run_dir.path / name for name in record.files)):
            files[f"results/runs/{record.id}/{file.name}"] = file
    files |= {f"results/tables/{name}": content for name, content in render(evidence.only_published()).items()}
    files["README.txt"] = _readme(len(evidence.published), without)
    files[SUMS] = _sums(files)
    return Packed(_write(path, files), len(evidence.published), without)


def _checkout(results: Path) -> dict[str, Path]:
    """The checkout's own files that tables are built with, by their name in a pack."""
    paper = results / "paper.yaml"
    files = {file.as_posix(): file for file in recipes_in(Path("recipes"))}
    files["results/paper.yaml"] = paper if paper.exists() else Path("results/paper.yaml")
    files |= {name: Path(name) for name in PINS}
    for file in files.values():
        if not file.is_file():
            raise ReportError(f"{file}: there is no such file: run this from the checkout's root folder")
    return files


def _lacking(published: Path, run_dir: RunDir) -> str | None:
    """Why the files that a published record was made from cannot go with it, or None."""
    if not run_dir.record.exists():
        return "its run is not on this machine"
    if sha256_file(run_dir.record) != sha256_file(published):
        return f"{run_dir.record} has other content"
    return doubts(run_dir)


def _spec(record: Record) -> bytes:
    return (json.dumps(record.spec.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def _readme(records: int, without: list[str]) -> bytes:
    code = read_code()
    commit = f"commit {code.commit}{' with uncommitted changes' * bool(code.dirty)}"
    lines = [
        f"Records of tksbench {__version__}, {commit if code.commit else 'not from a checkout'}.",
        "",
        "results/records   one file a run: spec, metrics, cost, versions, data, commit",
        "results/runs      per-step test logits [N, T, C], labels, losses of every step",
        "results/tables    what the records give",
        "specs             each run's full spec alone; its id is a hash of it",
        "recipes, results/paper.yaml, constraints*.txt   what the tables and runs were made with",
        "",
        "In a checkout of that commit:  python -m tksbench.tables --verify THIS_ARCHIVE",
        "By hand, in this folder:       sha256sum -c SHA256SUMS",
        "",
        f"{records} records, {len(without)} of them without logits{':' * bool(without)}",
        *(f"  {line}" for line in without),
    ]
    return ("\n".join(lines) + "\n").encode()


def _sums(files: Mapping[str, Path | bytes]) -> bytes:
    """SHA-256 by name, as `sha256sum` writes and checks it."""
    lines = []
    for name, content in sorted(files.items()):
        digest = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_file(content)
        lines.append(f"{digest}  {name}\n")
    return "".join(lines).encode()


def _write(path: Path, files: Mapping[str, Path | bytes]) -> str:
    """Write an archive that is whole or absent and has no times, owners or order of its own."""
    try:
        with replacing(path) as file:
            zipped: AbstractContextManager[BinaryIO] = nullcontext(file)
            if path.name.endswith(_ZIPPED):
                zipped = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)  # type: ignore[assignment]
            with zipped as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for name, content in sorted(files.items()):
                    _add(archive, f"{TOP}/{name}", content)
        return sha256_file(path)
    except OSError as error:
        raise ReportError(f"--pack {path}: cannot be written: {error.strerror}") from None


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    member = tarfile.TarInfo(name)  # owner 0, time 0
    member.mode = 0o644
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
        member.size = source.seek(0, os.SEEK_END)
        source.seek(0)
        archive.addfile(member, source)


def verify(
    path: Path, results: Path, render: Render, protocols: Mapping[str, Sequence[Candidate]] | None = None
) -> tuple[str, list[str]]:
    """Check an archive against itself and against this checkout, and build its tables again.

    Args:
        path: The archive.
        results: The results folder of this checkout, whose paper.yaml counts.
        render: Makes the table files.
        protocols: As for `evidence.gather`.

    Returns:
        What was checked, and one line for each thing that differs.

    Raises:
        DataError: The archive is damaged, holds links or paths that lead out, or is far too large.
        ReportError: There is no such file, or it is no pack.
    """
    if not path.is_file():
        raise ReportError(f"--verify {path}: no such file")
    if not path.name.endswith((".tar", *_ZIPPED)):
        raise ReportError(f"--verify {path}: expected an archive that --pack wrote: .tar, .tar.gz or .tgz")
    with unpacked(path, Path(tempfile.gettempdir())) as folder:
        root = folder / TOP
        if not (root / SUMS).is_file() or (root / SUMS).stat().st_size > _MAX_SUMS:
            raise ReportError(f"--verify {path}: holds no {TOP}/{SUMS}: not written by --pack")
        evidence = gather(Ledger(root / "results"), protocols)
        tables = render(evidence.only_published())
        differs = [
            *_wrong_sums(root),
            *_foreign(root, results),
            *(problem.replace(f"{root}{os.sep}", "") for problem in evidence.problems),
            *_wrong_runs(root, evidence),
            *_wrong_tables(root, tables),
        ]
        logits = sum(1 for _ in (root / "results" / "runs").glob("*/logits_last.npy"))
    told = f"{len(evidence.published)} records, {logits} with logits; {len(tables)} table files built again\n"
    told += f"archive SHA-256 {sha256_file(path)}"
    return told, list(dict.fromkeys(differs))


def _wrong_sums(root: Path) -> Iterator[str]:
    listed: dict[str, str] = {}
    for line in (root / SUMS).read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    found = {file.relative_to(root).as_posix(): file for file in sorted(root.rglob("*")) if file.is_file()}
    del found[SUMS]
    yield from (f"{name}: in {SUMS}, but not in the archive" for name in sorted(listed.keys() - found))
    for name, file in found.items():
        if name not in listed:
            yield f"{name}: not in {SUMS}"
        elif sha256_file(file) != listed[name]:
            yield f"{name}: its SHA-256 is not the one in {SUMS}"


def _foreign(root: Path, results: Path) -> Iterator[str]:
    """What the tables were built with and this checkout has otherwise."""
    mine = _checkout(results)
    theirs = {file.relative_to(root).as_posix() for file in (root / "recipes").rglob("*") if file.is_file()}
    for name in sorted({*mine, *theirs}):
        file = root / name
        if name not in mine or not file.is_file() or sha256_file(file) != sha256_file(mine[name]):
            yield f"{name}: not as in this checkout; README.txt in the archive names its commit"


def _wrong_runs(root: Path, evidence: Evidence) -> Iterator[str]:
    ledger = Ledger(root / "results")
    specs = {f"{record.id}.json": _spec(record) for record in evidence.published}
    for name in sorted({*specs, *(file.name for file in (root / "specs").glob("*"))}):
        file = root / "specs" / name
        if name not in specs or not _is(file, specs[name]):
            yield f"specs/{name}: not the spec of a record in the archive"
    for folder in sorted((root / "results" / "runs").glob("*")):
        published = ledger.published(folder.name)
        if not published.exists():
            yield f"results/runs/{folder.name}: there is no such record"
            continue
        try:
            doubt = _lacking(published, RunDir(folder))
        except Exception as error:  # whatever a file from outside is, it is named and the rest is checked
            doubt = f"cannot be checked: {type(error).__name__}: {error}"
        if doubt:
            yield f"results/runs/{folder.name}: {doubt.replace(f'{root}{os.sep}', '')}"


def _wrong_tables(root: Path, built: Mapping[str, bytes]) -> Iterator[str]:
    stated = {file.name: file for file in (root / "results" / "tables").glob("*")}
    for name in sorted({*stated, *built}):
        if name not in built:
            yield f"results/tables/{name}: there is no such table"
        elif name not in stated or not stated[name].is_file():
            yield f"results/tables/{name}: missing"
        elif not _is(stated[name], built[name]):
            with stated[name].open("rb") as file:
                theirs = file.read(len(built[name]) + 1).splitlines()
            pairs = enumerate(zip(built[name].splitlines(), theirs, strict=False))
            line = next((i for i, (ours, other) in pairs if ours != other), len(theirs) - 1)
            yield f"results/tables/{name}:{line + 1}: not what the records give"


def _is(file: Path, content: bytes) -> bool:
    """Whether a file from outside has this content; one of another size is not read."""
    return file.is_file() and file.stat().st_size == len(content) and file.read_bytes() == content
