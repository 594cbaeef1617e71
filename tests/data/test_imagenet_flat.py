"""ImageNet whose images lie in one folder: read by an index, on what each list of synsets says."""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.io import savemat

from tksbench.cli import run_command
from tksbench.data import DataError, imagenet
from tksbench.data.__main__ import main as data_command
from tksbench.data.imagenet_flat import synsets_of
from tksbench.data.miniature import WNIDS
from tksbench.data.registry import has_real, info, look, reader, why_not

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.data.base import Data
    from tksbench.recipe import DataSpec

FOLDER = "ILSVRC2012"
LABELS = [WNIDS[number // 20] for number in range(200)]  # of the miniature's validation images


def kit_files() -> dict[str, bytes]:
    """The two files of the development kit that matter, for ten synsets and one group of them."""
    synsets = np.empty((11, 1), dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("num_children", object)])
    order = [*reversed(WNIDS)]  # its numbers are not in the order of the names
    for place, synset in enumerate([*order, "n00001740"]):
        synsets[place, 0] = (place + 1, synset, 0 if place < 10 else 10)
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    truth = "".join(f"{order.index(label) + 1}\n" for label in LABELS).encode()
    return {"data/meta.mat": meta.getvalue(), "data/ILSVRC2012_validation_ground_truth.txt": truth}


def write_kit(folder: Path) -> None:
    for name, content in kit_files().items():
        path = folder / "ILSVRC2012_devkit_t12" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_packed_kit(folder: Path) -> None:
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        for name, content in kit_files().items():
            member = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_kaggle(folder: Path) -> None:
    rows = [f"ILSVRC2012_val_{n:08d},{label} 1 2 3 4 {label} 5 6 7 8 " for n, label in enumerate(LABELS, start=1)]
    (folder / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *reversed(rows)]) + "\r\n")


def write_lines(folder: Path) -> None:
    (folder / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(LABELS))


def write_caffe(folder: Path) -> None:
    rows = [f"ILSVRC2012_val_{n:08d}.JPEG {WNIDS.index(label)}" for n, label in enumerate(LABELS, start=1)]
    (folder / "val.txt").write_text("\n".join(rows) + "\n")


LISTS = {"kit": write_kit, "packed kit": write_packed_kit, "Kaggle": write_kaggle, "lines": write_lines}
LISTS |= {"Caffe": write_caffe}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniature is taken for the complete set."""
    entry = replace(info("imagenet"), num_classes=10, n_train=600, n_test=200)
    monkeypatch.setattr(imagenet, "info", lambda name: entry)


@pytest.fixture
def flat(static_root: Path, tmp_path: Path) -> Path:
    """A data root whose validation images lie in one folder, with what systems leave there."""
    source = static_root / "miniature" / FOLDER
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "train").symlink_to(source / "train")
    flatten(source / "val", folder / "val")
    for name in (".DS_Store", "._ILSVRC2012_val_00000001.JPEG", "Thumbs.db"):
        (folder / "val" / name).touch()
    return tmp_path


def flatten(half: Path, into: Path) -> None:
    into.mkdir()
    for image in half.glob("*/*.JPEG"):
        (into / image.name).symlink_to(image)


def command(action: str, root: Path) -> int:
    return run_command(data_command, [action, "imagenet", "--root", str(root)])


def load(root: Path, make_spec: Callable[..., DataSpec]) -> Data:
    return reader("imagenet").load(make_spec("imagenet", source="real", image_size=32), 4, 42, root)


@pytest.mark.parametrize("kind", LISTS)
def test_a_flat_half_is_read_where_it_is_as_if_it_were_sorted(
    flat: Path, static_root: Path, make_spec: Callable[..., DataSpec], kind: str
) -> None:
    LISTS[kind](flat / FOLDER)
    before = sorted(path.name for path in (flat / FOLDER / "val").iterdir())
    assert command("prepare", flat) == 0
    assert command("verify", flat) == 0
    assert sorted(path.name for path in (flat / FOLDER / "val").iterdir()) == before
    data, sorted_data = load(flat, make_spec), load(static_root / "miniature", make_spec)
    assert data.manifest == sorted_data.manifest
    assert data.test.labels.tolist() == sorted_data.test.labels.tolist()
    keys = [(0, 3), (0, 150)]
    assert (data.test.__getitems__(keys)[0] == sorted_data.test.__getitems__(keys)[0]).all()


def test_the_lists_are_needed_once(flat: Path) -> None:
    write_kit(flat / FOLDER)
    assert command("prepare", flat) == 0
    shutil.rmtree(flat / FOLDER / "ILSVRC2012_devkit_t12")
    assert [command("prepare", flat), command("verify", flat)] == [0, 0]


def test_kaggles_folders_are_read_as_they_are_unpacked(
    flat: Path, tmp_path: Path, make_spec: Callable[..., DataSpec]
) -> None:
    place = tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC"
    place.parent.mkdir(parents=True)
    (flat / FOLDER).rename(place)
    write_kaggle(tmp_path / "kaggle")
    assert command("prepare", tmp_path / "kaggle") == 0
    assert load(tmp_path / "kaggle", make_spec).manifest.keys() == {"ILSVRC2012/train", "ILSVRC2012/val"}


def test_training_images_in_one_folder_name_their_synsets(
    static_root: Path, tmp_path: Path, make_spec: Callable[..., DataSpec]
) -> None:
    source = static_root / "miniature" / FOLDER
    (tmp_path / FOLDER).mkdir()
    flatten(source / "train", tmp_path / FOLDER / "train")
    (tmp_path / FOLDER / "val").symlink_to(source / "val")
    assert command("prepare", tmp_path) == 0
    data = load(tmp_path, make_spec)
    assert data.manifest == load(static_root / "miniature", make_spec).manifest


def test_without_a_list_the_kit_is_asked_for_and_not_the_images(
    flat: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert command("prepare", flat) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "200 images in one folder, and no list of which synset each is of" in shown
    assert "put ILSVRC2012_devkit_t12.tar.gz (2.5 MB, from https://image-net.org) or LOC_val_solution.csv" in shown
    assert "Download" not in shown
    assert not (flat / FOLDER / "val.index").exists()


def test_a_flat_half_without_an_index_is_not_ready_and_a_plan_says_why(flat: Path) -> None:
    assert not has_real("imagenet", flat)
    assert "val holds its images in one folder, not sorted by synset" in why_not("imagenet", flat)
    assert look("imagenet", flat).state == "unsorted"
    write_lines(flat / FOLDER)
    command("prepare", flat)
    assert has_real("imagenet", flat)


def test_tars_without_an_index_are_not_ready(static_root: Path, tmp_path: Path) -> None:
    for half in ("train", "val"):
        (tmp_path / FOLDER / half).mkdir(parents=True)
        (tmp_path / FOLDER / half / "n01440764.tar").touch()
    assert not has_real("imagenet", tmp_path)
    assert "train holds tars, and has no index" in why_not("imagenet", tmp_path)


@pytest.mark.parametrize(
    ("write", "file", "old", "new", "message"),
    [
        (write_kaggle, "LOC_val_solution.csv", "n01443537 1", "tench 1", "is not 'ILSVRC2012_val_00000001,n01751748"),
        (write_lines, "imagenet_2012_validation_synset_labels.txt", "n01518878", "hen", "names no synset"),
        (write_caffe, "val.txt", " 3\n", " 10\n", "a rank among the 10 synsets of"),
        (write_kit, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", "10", "77", "names no synset"),
        (write_lines, "imagenet_2012_validation_synset_labels.txt", "\nn01518878", "", "says nothing of it"),
    ],
)
def test_a_list_that_is_malformed_or_too_short_is_named(
    flat: Path,
    write: Callable[[Path], None],
    file: str,
    old: str,
    new: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    write(flat / FOLDER)
    path = flat / FOLDER / file
    path.write_text(path.read_text().replace(old, new))
    assert command("prepare", flat) == 1
    shown = capsys.readouterr().out
    assert message in shown
    assert Path(file).name in shown


def test_a_copy_of_an_image_is_named_as_one_too_many(
    static_root: Path, tmp_path: Path, make_spec: Callable[..., DataSpec]
) -> None:
    shutil.copytree(static_root / "miniature" / FOLDER, tmp_path / FOLDER)
    some = tmp_path / FOLDER / "val" / WNIDS[0] / "ILSVRC2012_val_00000001.JPEG"
    shutil.copy(some, some.with_name("ILSVRC2012_val_00000001 (1).JPEG"))
    shutil.copy(some, some.with_name("._ILSVRC2012_val_00000001.JPEG"))
    train, val = reader("imagenet").verify(tmp_path)
    assert (train.state, val.state) == ("ok", "surplus")
    assert f"{WNIDS[0]}/ILSVRC2012_val_00000001 (1).JPEG: not of the published set; move it elsewhere" in val.detail
    with pytest.raises(DataError, match=r"201 images, expected 200: .* \(1\)\.JPEG: not of the published set"):
        load(tmp_path, make_spec)


def test_the_real_lists_agree_with_the_sorted_sample(samples: Path, tmp_path: Path) -> None:
    meta = samples / "imagenet_meta"
    synsets = [line.split()[0] for line in (meta / "LOC_synset_mapping.txt").read_text().splitlines()]
    ranks = [int(line.split()[1]) for line in (meta / "val_caffe_style_labels.txt").read_text().splitlines()]
    half = tmp_path / "val"
    (tmp_path / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(synsets[rank] for rank in ranks))
    files = {path.name: path.parent.name for path in (samples / "imagenet_sample").glob("*/val/*/*.JPEG")}
    assert synsets_of(half, list(files), {}) == files
    everything = synsets_of(half, [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)], {})
    assert set(np.unique([*everything.values()], return_counts=True)[1].tolist()) == {50}
