"""`python -m tksbench.data`: exit statuses, messages, and archives that must not be trusted."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from torchvision.datasets import utils as torchvision_utils

from tksbench.cli import run_command
from tksbench.data import DATASETS, DataError, archives
from tksbench.data.__main__ import main as data_command
from tksbench.data.archives import Archive
from tksbench.data.cifar import CIFAR100
from tksbench.data.files import md5_of, md5_of_file

if TYPE_CHECKING:
    from pathlib import Path


def main(words: list[str]) -> int:
    return run_command(data_command, words)


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.fixture
def as_published(static_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take the CIFAR-100 miniature for the published set, so that a complete set can be had offline."""
    folder = static_root / "miniature" / "cifar-100-python"
    monkeypatch.setattr(CIFAR100, "md5", {p: md5_of_file(folder / p) for p in ("train", "test", "meta")})
    return folder


@pytest.fixture
def packed(as_published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root that holds an archive of that set."""
    path = tmp_path / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(as_published, "cifar-100-python")
    known = Archive(path.name, "cifar-100-python", "cifar-100-python", md5_of_file(path))
    monkeypatch.setattr(CIFAR100, "archives", (known,))
    return tmp_path


def test_verify_of_a_complete_set_exits_0(
    as_published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(as_published, tmp_path / "cifar-100-python")
    assert main(["verify", "cifar100", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(" ok ") == 3


def test_verify_of_an_incomplete_set_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "cifar10", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("missing") == 7


def test_verify_of_all_fits_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["verify", "all", "--root", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(line.strip().startswith(name) for line in lines) for name in DATASETS)
    assert [line.split()[-1] for line in lines if "cifar-10-" in line] == [
        *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        "cifar-10-batches-py/test_batch",
        "cifar-10-batches-py/batches.meta",
    ]


@pytest.mark.parametrize("action", ["verify", "prepare", "stand-in"])
def test_unknown_name_is_one_message_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    assert main([action, "cifer10", "--root", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert "unknown data set 'cifer10'; did you mean 'cifar10'?" in shown
    assert shown.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("action", ["verify", "prepare", "stand-in"])
def test_missing_root_is_one_message_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    assert main([action, "cifar10", "--root", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["prepare", "stand-in"])
def test_root_that_cannot_be_written_is_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert main([action, "cifar10", "--root", str(tmp_path)]) == 2
    assert "not writable (Permission denied)" in capsys.readouterr().err


def test_prepare_unpacks_an_archive_in_the_root(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "cifar100", "--root", str(packed)]) == 0
    assert main(["verify", "cifar100", "--root", str(packed)]) == 0
    assert sorted(p.name for p in packed.iterdir()) == ["cifar-100-python", "cifar-100-python.tar.gz"]


def test_prepare_refuses_an_archive_that_is_cut(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = packed / "cifar-100-python.tar.gz"
    path.write_bytes(path.read_bytes()[:-5000])
    assert main(["prepare", "cifar100", "--root", str(packed)]) == 1
    assert "damaged archive" in capsys.readouterr().out
    assert [p.name for p in packed.iterdir()] == ["cifar-100-python.tar.gz"]


def repacked(source: Path, path: Path, top: str) -> None:
    """Pack a folder anew, with another folder around its files."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in source.iterdir():
                archive.write(file, f"{top}{file.name}")
                archive.writestr(f"__MACOSX/{top}._{file.name}", b"x")
        return
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for file in source.iterdir():
            archive.add(file, f"{top}{file.name}")


@pytest.mark.parametrize(
    ("file", "top"),
    [
        ("cifar-100-python.tar.gz", "cifar-100-python/"),
        ("cifar-100-python (1).tar.gz", "./cifar-100-python/"),
        ("cifar-100-python.tar", "cifar-100-python/"),  # as a browser unpacks a .gz
        ("cifar-100-python.zip", "archive/cifar-100-python/"),
        ("cifar-100-python copy.tgz", "cifar100/"),
        ("cifar-100-python.zip", ""),
    ],
)
def test_an_archive_packed_anew_is_taken_if_its_files_are_the_published_ones(
    packed: Path, as_published: Path, file: str, top: str
) -> None:
    (packed / "cifar-100-python.tar.gz").unlink()
    repacked(as_published, packed / file, top)
    assert main(["prepare", "cifar100", "--root", str(packed)]) == 0
    assert main(["verify", "cifar100", "--root", str(packed)]) == 0
    assert (packed / "cifar-100-python" / "train").is_file()
    assert sorted(p.name for p in packed.iterdir()) == ["cifar-100-python", file]


def test_an_archive_packed_anew_with_another_file_is_refused(
    packed: Path, as_published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(as_published, altered)
    (altered / "test").write_bytes(b"x")
    repacked(altered, packed / "cifar-100-python.tar.gz", "cifar-100-python/")
    assert main(["prepare", "cifar100", "--root", str(packed)]) == 1
    assert "its files are not the published ones" in " ".join(capsys.readouterr().out.split())
    assert not (packed / "cifar-100-python").exists()


def test_an_archive_packed_anew_whose_files_have_no_checksums_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tar(tmp_path / "CUB_200_2011 (2).tgz", (tarfile.TarInfo("CUB_200_2011/images.txt"), b"1 x"))
    assert main(["prepare", "cub", "--root", str(tmp_path)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "damaged, or packed anew" in shown
    assert f"unpack it to {tmp_path / 'CUB_200_2011'} yourself" in shown


def test_prepare_says_what_to_download_when_offline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torchvision_utils, "download_url", refuse)
    assert main(["prepare", "cifar10", "--root", str(tmp_path)]) == 1
    assert "cifar-10-python.tar.gz" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"cifar10", "cifar100"}))
def test_prepare_says_what_to_download_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["prepare", name, "--root", str(tmp_path)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "Download" in shown
    assert "put that into" in shown


@pytest.mark.parametrize("action", ["stand-in", "miniature"])  # the latter is its former name
def test_stand_in_data_are_made_below_the_root(tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    assert main([action, "cifar10", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("cifar10: stand-in data in ")
    assert (tmp_path / "miniature" / "cifar-10-batches-py" / "checksums.txt").is_file()


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (tarfile.TarInfo("../escaped"), "leads out"),
        (tarfile.TarInfo("/escaped"), "leads out"),
        (tarfile.TarInfo("data/../../escaped"), "leads out"),
        (link("data/x", "/etc/passwd", tarfile.SYMTYPE), "link or a device"),
        (link("data/x", "data/y", tarfile.LNKTYPE), "link or a device"),
        (link("data/x", "", tarfile.FIFOTYPE), "link or a device"),
    ],
)
def test_unsafe_tar_is_refused(tmp_path: Path, member: tarfile.TarInfo, message: str) -> None:
    path = make_tar(tmp_path / "a.tar.gz", (member, b""))
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(DataError, match=message):
        archives.install(Archive(path.name, "data", "data"), path, root)
    assert not list(root.iterdir())
    assert not (tmp_path / "escaped").exists()


def test_unsafe_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    symlink = zipfile.ZipInfo("data/x")
    symlink.external_attr = 0o120777 << 16
    for member, message in (("../escaped", "leads out"), ("C:/escaped", "leads out"), (symlink, "link or a")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, "/etc/passwd")
        with pytest.raises(DataError, match=message):
            archives.install(Archive(path.name, "data", "data"), path, tmp_path)


def test_archive_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    path = make_tar(tmp_path / "a.tar.gz", (tarfile.TarInfo("data/x"), bytes(1001)))
    with pytest.raises(DataError, match="unpacks to more than"):
        archives.install(Archive(path.name, "data", "data"), path, tmp_path)


def test_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar.gz", (tarfile.TarInfo("data/x"), bytes(range(256)) * 400))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"damaged archive|cannot be unpacked"):
        archives.install(Archive(path.name, "data", "data"), path, tmp_path)


def test_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar.gz", (tarfile.TarInfo("other/x"), b"x"))
    with pytest.raises(DataError, match="holds no folder data/"):
        archives.install(Archive(path.name, "data", "data"), path, tmp_path)


def test_installing_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "x").write_text("mine")
    members = [(tarfile.TarInfo(name), b"new") for name in ("x", "y")]
    path = make_tar(tmp_path / "a.tar.gz", *members)
    archives.install(Archive(path.name, ".", "lists", md5_of(path.read_bytes())), path, tmp_path)
    assert [(tmp_path / "lists" / name).read_text() for name in ("x", "y")] == ["mine", "new"]
