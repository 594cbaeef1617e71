"""ImageNet from an index and from tars: the same to the bit as from folders, and refused when they have changed."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import re
import shutil
import tarfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from timm.data.readers.reader_image_folder import find_images_and_targets
from torchvision.datasets import imagenet as published

from tksbench.cli import run_command
from tksbench.data import DataError, imagenet, tars
from tksbench.data.__main__ import main as data_command
from tksbench.data.miniature import WNIDS
from tksbench.data.registry import info, reader
from tksbench.train.loading import read_batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec

RENEW = "python -m tksbench.data prepare imagenet"
Load = "Callable[[], Data]"


@pytest.fixture
def folder(static_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the miniature, which is taken for the complete set."""
    entry = replace(info("imagenet"), num_classes=10, n_train=600, n_test=200)
    monkeypatch.setattr(imagenet, "info", lambda name: entry)
    shutil.copytree(static_root / "miniature" / "ILSVRC2012", tmp_path / "ILSVRC2012")
    return tmp_path / "ILSVRC2012"


@pytest.fixture
def load(folder: Path, make_spec: Callable[..., DataSpec]) -> Load:
    return lambda: reader("imagenet").load(make_spec("imagenet", source="real", image_size=32), 4, 42, folder.parent)


def prepare(folder: Path) -> int:
    return run_command(data_command, ["prepare", "imagenet", "--root", str(folder.parent)])


def states(folder: Path) -> dict[str, str]:
    return {status.path: status.state for status in reader("imagenet").verify(folder.parent)}


def pack(folder: Path, *parts: str, reverse: bool = False) -> None:
    """Pack synset folders as the official training archive has them: one tar each, the images at its top."""
    for synset in [synset for part in parts for synset in (folder / part).iterdir() if synset.is_dir()]:
        with tarfile.open(f"{synset}.tar", "w") as archive:
            for file in sorted(synset.iterdir(), reverse=reverse):
                archive.add(file, file.name)
        shutil.rmtree(synset)


def bits(data: Data) -> list[bytes]:
    """Every seventh sample of both halves."""
    halves = ((half, [(3, index) for index in range(0, len(half), 7)]) for half in (data.train, data.test))
    return [half.__getitems__(keys)[0].numpy().tobytes() for half, keys in halves]


def test_index_and_tars_change_no_bit(folder: Path, load: Load) -> None:
    listed = load()
    expected = bits(listed)
    assert prepare(folder) == 0
    assert bits(load()) == expected
    pack(folder, "train", "val")
    assert prepare(folder) == 0
    packed = load()
    assert not (folder / "train" / WNIDS[0]).exists()
    assert bits(packed) == expected
    assert packed.manifest == listed.manifest
    assert [packed.train.labels.tolist(), packed.test.labels.tolist()] == [
        listed.train.labels.tolist(),
        listed.test.labels.tolist(),
    ]


def test_tars_read_by_workers_give_the_same_bits(folder: Path, load: Load) -> None:
    listed, keys = load(), [[(0, index), (1, index)] for index in range(0, 600, 60)]
    expected = [listed.train.__getitems__(batch) for batch in keys]
    pack(folder, "train")  # val stays in folders
    assert prepare(folder) == 0
    packed = load().train
    packed.__getitems__(keys[0])  # workers are forked with an archive open
    read = list(read_batches(packed, keys, 2, torch.device("cpu")))
    spawned = pickle.loads(pickle.dumps(packed))  # noqa: S301 - as a spawned worker gets it
    for batch, images, again in zip(expected, read, map(spawned.__getitems__, keys), strict=True):
        assert torch.equal(batch[0], images[0]) and torch.equal(batch[1], images[1])
        assert torch.equal(batch[0], again[0])


def test_order_and_classes_are_those_of_timm(folder: Path, load: Load) -> None:
    (folder / "train" / WNIDS[0] / "notes.txt").touch()
    assert prepare(folder) == 0
    samples, classes = find_images_and_targets(str(folder / "train"))
    lines = (folder / "train.index").read_text().splitlines()
    assert lines[1:] == [str(Path(path).relative_to(folder / "train")) for path, _ in samples]
    assert load().train.labels.tolist() == [label for _, label in samples]
    assert list(classes) == sorted(WNIDS)


def test_manifest_is_the_listing_of_names(folder: Path, load: Load) -> None:
    lines = sorted(str(path.relative_to(folder)) for path in folder.glob("val/*/*"))  # padded: any order is the same
    expected = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert load().manifest["ILSVRC2012/val"] == f"sha256:{expected}"


def test_with_an_index_nothing_is_listed(folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare(folder) == 0
    monkeypatch.setattr(imagenet, "list_files", None)
    monkeypatch.setattr(imagenet, "find_synsets", None)
    assert len(load().train) == 600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.replace(b"_7.JPEG", b"_8.JPEG", 1), "train.index: damaged"),
        (lambda raw: raw[:-20], "train.index: damaged"),
        (lambda raw: re.sub(rb" [0-9]+ sha", b" " + b"9" * 5000 + b" sha", raw, count=1), "does not begin an index"),
        (lambda raw: raw.replace(b" 600 ", b" 599 ", 1), "lists 600 images, but its first line says 599"),
        (lambda raw: raw.replace(b"index 1 ", b"index 2 ", 1), "does not begin an index of version 1"),
        (lambda raw: b"", "train.index:1: '' does not begin"),
        (lambda raw: raw.replace(b" folders ", b" tars ", 1), r"image 1: '.*' is not SYNSET/FILE, OFFSET and SIZE"),
    ],
)
def test_damaged_index_is_refused_and_renewed(
    folder: Path, load: Load, change: Callable[[bytes], bytes], message: str
) -> None:
    assert prepare(folder) == 0
    path = folder / "train.index"
    sound = path.read_bytes()
    path.write_bytes(change(sound))
    with pytest.raises(DataError, match=message) as caught:
        load()
    assert RENEW in str(caught.value)
    assert states(folder)["ILSVRC2012/train.index"] == "corrupt"
    assert prepare(folder) == 0
    assert path.read_bytes() == sound


def test_index_that_leads_out_of_the_folder_is_refused(folder: Path, load: Load) -> None:
    text = b"../x.JPEG\n"
    first = f"tksbench-imagenet-index 1 folders 1 sha256:{hashlib.sha256(text).hexdigest()}\n"
    (folder / "val.index").write_bytes(first.encode() + text)
    with pytest.raises(DataError, match=r"val.index: image 1: '../x.JPEG' is not SYNSET/FILE"):
        load()


def test_name_that_cannot_stand_in_an_index_is_refused(folder: Path, load: Load) -> None:
    path = folder / "train" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG"
    path.rename(path.with_name("a\tb.JPEG"))
    with pytest.raises(DataError, match=r"image 1: '.*a\\tb.JPEG' is not SYNSET/FILE; give the file another name"):
        load()


def test_file_that_is_gone_names_file_index_and_command(folder: Path, load: Load) -> None:
    assert prepare(folder) == 0
    data, path = load(), folder / "train" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG"
    path.unlink()
    with pytest.raises(DataError, match=rf"{path}: no such file, but {folder}/train.index lists it: `{RENEW}"):
        data.train.__getitems__([(0, 0)])
    assert states(folder)["ILSVRC2012/train.index"] == "corrupt"


def test_tars_without_index_are_refused(folder: Path, load: Load) -> None:
    pack(folder, "train")
    with pytest.raises(DataError, match=rf"holds tars, but {folder}/train.index is not there: `{RENEW}"):
        load()
    assert states(folder) == {"ILSVRC2012/train": "ok", "ILSVRC2012/train.index": "missing", "ILSVRC2012/val": "ok"}


def test_tar_packed_anew_is_refused_until_indexed_anew(folder: Path, load: Load) -> None:
    listed = load()
    expected = listed.train.__getitems__([(0, 0)])[0]
    shutil.copytree(folder / "train", folder / "again")
    pack(folder, "train")
    assert prepare(folder) == 0
    shutil.rmtree(folder / "train")
    pack(folder, "again", reverse=True)
    (folder / "again").rename(folder / "train")
    with pytest.raises(DataError, match=rf"{WNIDS[0]}.tar: holds no .* of .* bytes at byte .*train.index lists it"):
        load().train.__getitems__([(0, 0)])
    assert prepare(folder) == 0
    assert torch.equal(load().train.__getitems__([(0, 0)])[0], expected)


def test_incomplete_half_gets_no_index(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "val" / WNIDS[0] / "ILSVRC2012_val_00000001.JPEG").unlink()
    assert prepare(folder) == 1
    assert "not complete" in capsys.readouterr().out
    assert (folder / "train.index").exists()
    assert not (folder / "val.index").exists()
    assert not list(folder.glob(".*.tmp"))


def test_index_that_cannot_be_written_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.fsync", refuse)
    assert prepare(folder) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "cannot be written (Read-only file system). Where ImageNet is shared and read-only, make" in shown


def test_prepare_unpacks_only_the_half_that_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(folder, "train")
    (folder / "val").rename(folder / "unpacked")
    for file in ("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"):
        (folder / file).touch()
    monkeypatch.setattr(published, "parse_devkit_archive", lambda root: None)
    monkeypatch.setattr(published, "parse_train_archive", None)
    monkeypatch.setattr(published, "parse_val_archive", lambda root: (folder / "unpacked").rename(folder / "val"))
    assert prepare(folder) == 0
    assert set(states(folder).values()) == {"ok"}


def test_few_tars_stay_open(folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(folder, "train")
    assert prepare(folder) == 0
    monkeypatch.setattr(tars, "_opened", lru_cache(maxsize=3)(tars._OpenFile))
    load().train.__getitems__([(0, index) for index in range(0, 600, 20)])
    targets = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert sum(target.parent == folder / "train" for target in targets) == 3


def member(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, "b.JPEG" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return made


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([member("/a.JPEG")], "leads out"),
        ([member("../a.JPEG")], "leads out"),
        ([member("a.JPEG", tarfile.SYMTYPE)], "is a link"),
        ([member("a.JPEG", tarfile.LNKTYPE)], "is a link"),
        ([member("a.JPEG", tarfile.FIFOTYPE)], "is a link, a device"),
        ([member("a.JPEG", tarfile.GNUTYPE_SPARSE)], "or a sparse file"),
        ([member("a" * 101 + ".JPEG")], "longer than 100 letters"),
        ([member("\N{GREEK SMALL LETTER ALPHA}.JPEG")], "or not ASCII"),
        ([member("n01440764/a.JPEG"), member("a.JPEG")], "holds 'a.JPEG' twice"),
        ([member("n01443537/a.JPEG")], "is neither FILE nor n01440764/FILE"),
    ],
)
def test_member_that_is_no_plain_file_is_refused(
    tmp_path: Path, names: list[tarfile.TarInfo], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ILSVRC2012"
    (folder / "train").mkdir(parents=True)
    with tarfile.open(folder / "train" / "n01440764.tar", "w") as archive:
        for made in names:
            archive.addfile(made, io.BytesIO())
    assert reader("imagenet").verify(tmp_path)[0].state == "corrupt"
    assert prepare(folder) == 1
    assert message in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (gzip.compress, "compressed with gzip"),
        (lambda raw: raw[: len(raw) // 2], "damaged"),
        (lambda raw: raw[: len(raw) // 10240 * 10240 - 10240], "damaged"),
        (lambda raw: raw[:10_240] + b"x" * 10_240 + raw[20_480:], "damaged or cut short at byte"),
        (lambda raw: b"", "not a tar, or damaged (empty file)"),
    ],
)
def test_damaged_or_compressed_tar_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], change: Callable[[bytes], bytes], message: str
) -> None:
    pack(folder, "train")
    path = folder / "train" / f"{WNIDS[4]}.tar"
    path.write_bytes(change(path.read_bytes()))
    assert prepare(folder) == 1
    shown = capsys.readouterr().out
    assert message in " ".join(shown.split())
    assert not (folder / "train.index").exists()


def test_real_images_in_tars_give_the_same_bits(
    samples: Path, make_spec: Callable[..., DataSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(samples / "imagenet_sample" / "imagenette224", tmp_path / "ILSVRC2012")
    spec, keys = make_spec("imagenet"), [(5, index) for index in range(0, 40, 3)]
    listed = reader("imagenet").load(spec, 4, 42, tmp_path)
    expected = listed.test.__getitems__(keys)[0], listed.train.__getitems__(keys)[0]
    entry = replace(info("imagenet"), num_classes=10, n_train=len(listed.train), n_test=len(listed.test))
    monkeypatch.setattr(imagenet, "info", lambda name: entry)
    pack(tmp_path / "ILSVRC2012", "train", "val")
    assert prepare(tmp_path / "ILSVRC2012") == 0
    packed = reader("imagenet").load(spec, 4, 42, tmp_path)
    assert packed.manifest == listed.manifest
    assert torch.equal(packed.test.__getitems__(keys)[0], expected[0])
    assert torch.equal(packed.train.__getitems__(keys)[0], expected[1])
