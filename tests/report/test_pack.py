"""`--pack` and `--verify`: equal bytes, verification elsewhere, whatever was tampered with, hostile archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

from tksbench.cli import run_command
from tksbench.report.catalog import table_names
from tksbench.report.pack import SUMS, TOP
from tksbench.report.paper_file import load_paper
from tksbench.tables import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import World


@pytest.fixture
def packed(world: World, capsys: pytest.CaptureFixture[str]) -> Path:
    """A pack of three records, one of which was trained elsewhere."""
    for name in ("constraints.txt", "constraints-extras.txt"):
        (world.root / name).write_text("torch==2.15.0\n")
    for seed in (42, 43):
        world.finish(world.run("mini", seed=seed), 60.0 + seed / 2)
    assert main(["--publish"]) == 0
    record = world.publish(world.run("mini", method="baseline"))
    shutil.rmtree(world.ledger.run_dir(record.id).path)
    assert main(["--pack", "review.tar.gz"]) == 0
    assert "3 records" in capsys.readouterr().out
    return world.root / "review.tar.gz"


def unpack(path: Path, folder: Path) -> Path:
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder / TOP


def pack_again(root: Path, path: Path, sums: bool = True) -> None:
    """As somebody would who wants the sums to be right."""
    files = sorted(file for file in root.rglob("*") if file.is_file() and file.name != SUMS)
    if sums:
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(root)}\n" for file in files]
        (root / SUMS).write_text("".join(lines))
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root, TOP)


def test_a_pack_is_equal_to_the_byte_and_holds_records_logits_specs_and_pins(packed: Path, world: World) -> None:
    assert main(["--pack", "again.tar.gz"]) == 0
    assert (world.root / "again.tar.gz").read_bytes() == packed.read_bytes()
    root = unpack(packed, world.root / "out")
    for file in (world.root / "results" / "records").iterdir():
        assert (root / "results" / "records" / file.name).read_bytes() == file.read_bytes()
        assert json.loads((root / "specs" / file.name).read_text())["model"]["name"] == "spiking_resnet19"
    assert len(list((root / "results" / "runs").glob("*/logits_last.npy"))) == 2
    assert (root / "constraints.txt").read_text() == "torch==2.15.0\n"
    assert "1 of them without logits" in (root / "README.txt").read_text()
    for line in (root / SUMS).read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == digest


def test_a_pack_is_verified_in_another_checkout(
    packed: Path, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = world.root / "other"
    (other / "results").mkdir(parents=True)
    for name in ("recipes/cifar10.yaml", "results/paper.yaml", "constraints.txt", "constraints-extras.txt"):
        (other / name).parent.mkdir(exist_ok=True)
        shutil.copy(world.root / name, other / name)
    monkeypatch.chdir(other)
    assert main(["--verify", str(packed)]) == 0
    out = capsys.readouterr().out
    tables = 2 * len(table_names(load_paper(world.root / "results")))  # as Markdown and as LaTeX
    assert f"review.tar.gz: verified\n3 records, 2 with logits; {tables} table files built again\n" in out
    assert hashlib.sha256(packed.read_bytes()).hexdigest() in out
    assert sorted(path.name for path in other.rglob("*") if path.is_dir()) == ["recipes", "results"]


def first(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def edit(pattern: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        file = first(root, pattern)
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


def doctor(root: Path) -> None:
    """Another accuracy in a record, in both places."""
    for file in root.glob(f"results/*/{first(root, 'results/runs/*').name}*"):
        file = file / "record.json" if file.is_dir() else file
        plain = json.loads(file.read_text())
        plain.pop("seal")
        plain["metrics"]["best"]["top1"] = plain["metrics"]["last"]["top1"] = 90.0
        file.write_text(json.dumps(plain))


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (doctor, "metrics.last.top1 says 90.0, but"),
        (edit("results/tables/table1.md", "81.25", "84.25"), "results/tables/table1.md:7: not what the records give"),
        (edit("results/paper.yaml", "80.0", "70.0"), "results/paper.yaml: not as in this checkout"),
        (edit("recipes/cifar10.yaml", "600", "60"), "recipes/cifar10.yaml: not as in this checkout"),
        (edit("constraints.txt", "2.15", "2.14"), "constraints.txt: not as in this checkout"),
        (edit("specs/*.json", '"T": 2', '"T": 4'), "not the spec of a record"),
        (lambda root: first(root, "results/runs/*/logits_last.npy").write_bytes(b"PK\3\4"), "logits_last.npy is not"),
        (lambda root: first(root, "results/runs/*/labels.npy").unlink(), "labels.npy is missing"),
        (lambda root: first(root, "results/records/*").unlink(), "not the spec of a record"),
        (lambda root: first(root, "results/records/*").write_text("{"), "not a record"),
        (lambda root: (root / "results/tables/table1.tex").unlink(), "results/tables/table1.tex: missing"),
        (lambda root: (root / "recipes/more.yaml").write_text("a: &a [*a]"), "recipes/more.yaml: not as in this"),
    ],
)
def test_what_was_tampered_with_is_named_though_the_sums_are_right(
    packed: Path, world: World, capsys: pytest.CaptureFixture[str], tamper: Callable[[Path], object], named: str
) -> None:
    root = unpack(packed, world.root / "out")
    main(["--verify", str(packed)])
    tamper(root)
    pack_again(root, packed)
    capsys.readouterr()
    assert main(["--verify", str(packed)]) == 1
    said = capsys.readouterr()
    assert named in said.err
    assert str(world.root / "out") not in said.err
    assert "review.tar.gz: not verified, " in said.out


def test_files_that_do_not_fit_the_sums_are_named(
    packed: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    root = unpack(packed, world.root / "out")
    (root / "README.txt").write_text("trust me")
    (root / "more.txt").write_text("")
    (root / "specs").rename(root / "specks")
    pack_again(root, packed, sums=False)
    assert main(["--verify", str(packed)]) == 1
    err = capsys.readouterr().err
    assert "differs: README.txt: its SHA-256 is not the one in SHA256SUMS\n" in err
    assert "differs: more.txt: not in SHA256SUMS\n" in err
    assert err.count("in SHA256SUMS, but not in the archive") == 3


def bomb(size: int, name: str = "a", kind: bytes = tarfile.REGTYPE) -> bytes:
    """A small archive with a member, or a header, of so many zeros."""
    header = tarfile.TarInfo(name)
    header.type, header.size = kind, size
    return gzip.compress(header.tobuf() + bytes(size))


def hostile(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        member.size = 2 if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"hi"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda good: hostile("../out.txt"), "leads out of the folder"),
        (lambda good: hostile("/tmp/out.txt"), "leads out of the folder"),  # noqa: S108
        (lambda good: hostile(f"{TOP}/{SUMS}", tarfile.SYMTYPE), "is a link or a device"),
        (lambda good: hostile(f"{TOP}/{SUMS}", tarfile.FIFOTYPE), "is a link or a device"),
        (lambda good: hostile("a.txt"), f"holds no {TOP}/{SUMS}: not written by --pack"),
        (lambda good: bomb(20_000_000), "unpacks to more than"),
        (lambda good: bomb(20_000_000, "././@LongLink", tarfile.GNUTYPE_LONGNAME), "a header of 20,000,256 bytes"),
        (lambda good: good[: len(good) // 2], "damaged archive"),
        (lambda good: good[:20] + b"\xff" * 64 + good[84:], "damaged archive"),
        (lambda good: b"no archive at all", "damaged archive"),
        (lambda good: b"", "damaged archive"),
    ],
)
def test_a_hostile_or_damaged_archive_is_refused_in_one_line(
    packed: Path, world: World, capsys: pytest.CaptureFixture[str], spoil: Callable[[bytes], bytes], message: str
) -> None:
    before = sorted(world.root.rglob("*"))
    packed.write_bytes(spoil(packed.read_bytes()))
    assert run_command(main, ["--verify", str(packed)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert sorted(world.root.rglob("*")) == before


def test_an_archive_that_unpacks_to_far_too_much_is_refused(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tksbench.data.archives.MAX_MEMBERS", 5)
    assert run_command(main, ["--verify", str(packed)]) == 2
    assert "unpacks to more than" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pack", "review.tar.gz"], "exists already"),
        (["--pack", "review.zip"], "ends in .tar, .tar.gz or .tgz"),
        (["--pack", "nowhere/review.tar"], "cannot be written: No such file"),
        (["--verify", "none.tar"], "no such file"),
        (["--verify", "constraints.txt"], "expected an archive that --pack wrote"),
        (["--pack", "a.tar", "--publish"], "exclude each other"),
        (["--pack", "a.tar", "table1"], "leave out table1"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_left(
    packed: Path, world: World, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    before = sorted(world.root.rglob("*"))
    assert run_command(main, words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert sorted(world.root.rglob("*")) == before


def test_without_published_records_there_is_nothing_to_pack(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.finish(world.run("mini"))
    assert run_command(main, ["--pack", "a.tar"]) == 2
    assert "first: python -m tksbench.tables --publish" in capsys.readouterr().err
