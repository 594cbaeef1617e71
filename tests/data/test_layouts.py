"""Data sets as archives, mirrors, browsers and systems leave them: taken where they are, or explained."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tksbench.cli import run_command
from tksbench.data import DataError, registry
from tksbench.data.__main__ import main as data_command
from tksbench.data.event_sets import NCaltech101
from tksbench.data.event_splits import read_manifest
from tksbench.data.events import EventFileError
from tksbench.data.miniature_events import make_dvs_cifar10, make_ncaltech101, make_nmnist
from tksbench.data.registry import DATASETS, has_real, info, reader, why_not
from tksbench.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.data.base import Data

LEFT_BEHIND = ("._{name}", ".DS_Store", "Thumbs.db", "desktop.ini", ".{name}.icloud", "{name}:Zone.Identifier")
LEFT_FOLDERS = ("__MACOSX", "$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle", "lost+found")
COPIES = ("{stem} (1){suffix}", "{stem} copy{suffix}", "{stem} - Copy{suffix}", "{stem} copy 2{suffix}")
EVENTS = {"dvs_cifar10": make_dvs_cifar10, "ncaltech101": make_ncaltech101, "nmnist": make_nmnist}


@pytest.fixture(scope="module")
def event_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three event miniatures; read-only by agreement."""
    root = tmp_path_factory.mktemp("events")
    for make in EVENTS.values():
        make(root)
    shutil.copytree(root / "Caltech101" / "ant", root / "Caltech101" / "yin_yang")  # the last class, as the first, is
    return root  # what a look at the set looks for


@pytest.fixture
def source(static_root: Path, event_root: Path) -> Callable[[str], Path]:
    """The folder of a set's miniature, by the set's name."""
    return lambda name: (event_root if name in EVENTS else static_root / "miniature") / info(name).folder


def read(name: str, root: Path) -> Data:
    """Load what lies under a root as the reader of the real set would."""
    augment = "dvs" if name in EVENTS else "none"
    values: dict[str, Any] = {"name": name, "source": "miniature", "augment": augment, "train_subset": 20}
    data: Data = reader(name).load(DataSpec(**values, test_subset=10), 2, 42, root)
    return data


# ---- nested, renamed, one level too deep or too shallow

NESTED = {
    "as Kaggle packs it": [
        ("cars", {"cars_train": "cars_train/cars_train", "cars_test": "cars_test/cars_test"}),
        ("dogs", {"Images": "images/Images"}),
        ("imagenet", {"train": "ILSVRC/Data/CLS-LOC/train", "val": "ILSVRC/Data/CLS-LOC/val"}),
    ],
    "in parts": [
        ("dogs", {"train_list.mat": "lists/train_list.mat", "test_list.mat": "lists/test_list.mat"}),
        ("cars", {"devkit": "car_devkit/devkit"}),
        ("cars", {"cars_test_annos_withlabels.mat": "devkit/cars_test_annos_withlabels (1).mat"}),
        ("cub", {"images": "images/images", "images.txt": "images (1).txt"}),
        ("dvs_cifar10", {"airplane": "airplane/airplane", "cat": "cat/cat"}),
        ("dvs_cifar10", {name: f"extract/{name}" for name in ("airplane", "cat", "truck")}),
        ("nmnist", {"Train": "Train/Train", "Test/3": "Test/3/3"}),
    ],
}


@pytest.mark.parametrize(("name", "moves"), [case for cases in NESTED.values() for case in cases])
def test_a_part_that_is_nested_is_read_where_it_is(
    source: Callable[[str], Path], tmp_path: Path, name: str, moves: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TKSBENCH_CACHE", str(tmp_path / "cache"))
    plain, nested = tmp_path / "plain", tmp_path / "nested"
    for root in (plain, nested):
        shutil.copytree(source(name), root / info(name).folder, copy_function=shutil.copy2)
    if "extract" in str(moves):
        moves = {path.name: f"extract/{path.name}" for path in source(name).iterdir()}
    for old, new in moves.items():
        target = nested / info(name).folder / new
        aside = tmp_path / "aside"
        (nested / info(name).folder / old).rename(aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(target)
    data, expected = read(name, nested), read(name, plain)
    assert data.manifest == expected.manifest
    assert data.train.labels.tolist() == expected.train.labels.tolist()
    keys = [(0, 0), (0, 7)]
    assert (data.train.__getitems__(keys)[0] == expected.train.__getitems__(keys)[0]).all()


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "cifar100"])
@pytest.mark.parametrize("place", ["{folder}/{folder}", "..", "somebody/{folder}", "{folder} with more/{folder}"])
def test_a_set_is_found_doubled_in_the_root_itself_and_one_level_below(
    source: Callable[[str], Path], tmp_path: Path, name: str, place: str
) -> None:
    folder = info(name).folder
    if place == "..":  # the root is the data set's own folder, whatever that is called
        root, target = tmp_path / "mine", tmp_path / "mine"
    else:
        root, target = tmp_path, tmp_path / place.format(folder=folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source(name))
    if place == "{folder}/{folder}":
        (root / folder / "attributes.txt").touch()  # as CUB's archive has one beside it
    assert has_real(name, root)
    assert registry.folder_of(name, root).resolve() == source(name).resolve()


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("nmnist", "N-MNIST"),
        ("nmnist", "NMNIST"),
        ("dvs_cifar10", "CIFAR10-DVS"),
        ("ncaltech101", "N-Caltech101/Caltech101"),
        ("cub", "CUB-200-2011"),
        ("dogs", "stanford-dogs"),
        ("imagenet", "imagenet"),
        ("cub", "CUB_200_2011 2"),
        ("ncaltech101", "N Caltech 101 (1)"),
        ("dogs", "archive"),
        ("cub", "archive (2)/CUB_200_2011"),
    ],
)
def test_a_set_is_found_under_a_name_that_people_give_it(
    source: Callable[[str], Path], tmp_path: Path, name: str, called: str
) -> None:
    (tmp_path / called).parent.mkdir(exist_ok=True)
    (tmp_path / called).symlink_to(source(name))
    assert has_real(name, tmp_path)


def test_of_two_places_one_level_below_none_is_chosen(source: Callable[[str], Path], tmp_path: Path) -> None:
    for owner in ("alice", "bob"):
        shutil.copytree(source("cifar10"), tmp_path / owner / info("cifar10").folder)
    assert not has_real("cifar10", tmp_path)
    assert f"it is in {tmp_path / 'alice'} and in {tmp_path / 'bob'}" in why_not("cifar10", tmp_path)


def test_a_miniature_or_a_twin_below_the_root_is_no_real_set(source: Callable[[str], Path], tmp_path: Path) -> None:
    for below, name in (("miniature", "cifar10"), ("twin", "dvs_cifar10")):
        shutil.copytree(source(name), tmp_path / below / info(name).folder)
        assert not has_real(name, tmp_path)


def test_folders_of_other_data_are_not_taken_for_a_set(tmp_path: Path) -> None:
    for part in ("train/cats", "val/cats", "test/cats", "airplane", "truck", "Train/0", "Test/0"):
        (tmp_path / part).mkdir(parents=True)
    assert [name for name in DATASETS if has_real(name, tmp_path)] == []


# ---- what systems leave behind, and copies


@pytest.mark.parametrize("name", EVENTS)
def test_what_systems_leave_among_recordings_is_no_recording(event_root: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / info(name).folder
    shutil.copytree(event_root / info(name).folder, folder)
    expected = reader(name).find_listing("natural", folder, complete=False)
    some = folder / expected.train[0]
    for left in LEFT_BEHIND:
        for place in (some.parent, folder):
            (place / left.format(name=some.name)).write_bytes(b"\0\5\26\7")
    for left in LEFT_FOLDERS:
        shutil.copytree(some.parent, folder / left / some.parent.name)
        shutil.copy(some, folder / left / some.name)
    assert reader(name).find_listing("natural", folder, complete=False) == expected


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, Path]]:
    """Recordings of the complete published sets, by name; no file is there."""
    numbers = iter(range(1, 70_001))
    digits = {f"{half}/{n % 10}/{next(numbers):05d}.bin" for half, size in (("Train", 60_000), ("Test", 10_000))
              for n in range(size)}  # fmt: skip
    names = {name: [*read_manifest(name, "natural").train, *read_manifest(name, "natural").test]
             for name in ("dvs_cifar10", "ncaltech101")}  # fmt: skip
    return {name: {file: Path(file) for file in files} for name, files in (names | {"nmnist": sorted(digits)}).items()}


@pytest.mark.parametrize(
    ("name", "copy"), [*zip(("dvs_cifar10", "ncaltech101", "nmnist", "ncaltech101"), COPIES, strict=True)]
)
def test_a_copy_of_a_recording_is_named_as_one_too_many(
    published: dict[str, dict[str, Path]], name: str, copy: str
) -> None:
    found = published[name]
    some = Path(next(iter(found)))
    extra = some.with_name(copy.format(stem=some.stem, suffix=some.suffix))
    status = reader(name).judge(found | {extra.as_posix(): extra}, Path("here"), "here")
    assert status.state == "surplus"
    assert f"1 file too many ({extra.parent.name}/{extra.name}: a copy); move it elsewhere" in status.detail
    del (less := dict(found))[some.as_posix()]  # a copy does not stand for what is missing
    assert reader(name).judge(less | {extra.as_posix(): extra}, Path("here"), "here").state == "missing"


def test_published_sets_have_no_recording_too_many(published: dict[str, dict[str, Path]]) -> None:
    assert {
        name: reader(name).judge(found, Path("here"), "here").state for name, found in published.items()
    } == dict.fromkeys(published, "ok")


def test_a_recording_of_another_name_is_one_too_many_only_in_a_full_class(
    published: dict[str, dict[str, Path]],
) -> None:
    found = published["ncaltech101"]
    counts = Counter(Path(name).parent.name for name in found)
    extra = Path(f"ant/image_{counts['ant'] + 1:04d}.bin")
    status = reader("ncaltech101").judge(found | {extra.as_posix(): extra}, Path("here"), "here")
    assert (status.state, "ant/image_0043.bin: no recording of the published set" in status.detail) == ("surplus", True)
    gap = {name: path for name, path in found.items() if name != "ant/image_0007.bin"}
    assert reader("ncaltech101").judge(gap | {extra.as_posix(): extra}, Path("here"), "here").state == "ok"


def test_prepare_names_what_is_too_much_and_downloads_nothing(
    published: dict[str, dict[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    extra = Path("ant/image_0001 (1).bin")
    found = published["ncaltech101"] | {extra.as_posix(): extra}
    status = reader("ncaltech101").judge(found, tmp_path, "Caltech101")
    monkeypatch.setattr(NCaltech101, "verify", lambda self, root: [status])
    assert run_command(data_command, ["prepare", "ncaltech101", "--root", str(tmp_path)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 file too many (ant/image_0001 (1).bin: a copy); move it elsewhere" in shown
    assert "Download" not in shown


# ---- forms that are not read


@pytest.mark.parametrize(
    ("name", "file", "form"),
    [
        ("cifar10", "cifar10/plain_text/train-00000-of-00001.parquet", "as parquet (Hugging Face)"),
        ("cifar100", "cifar100/cifar100/train-00000-of-00001.parquet", "as parquet (Hugging Face)"),
        ("cifar10", "cifar-10-batches-bin/data_batch_1.bin", "in its version for C programs"),
        ("cifar100", "cifar-100-matlab/train.mat", "in its version for MATLAB"),
        ("cifar10", "CIFAR-10-images/train/airplane/0000.jpg", "as a folder of images a class"),
        ("cifar100", "cifar100/train/apple/0001.png", "as a folder of images a class"),
        ("imagenet", "imagenet-1k/data/train-00000-of-00294.parquet", "as parquet (Hugging Face)"),
    ],
)
def test_another_form_of_a_set_is_recognised_and_explained(
    tmp_path: Path, name: str, file: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.touch()
    assert f"{file} is of {info(name).title} {form}" in why_not(name, tmp_path)
    assert [other for other in DATASETS if other != name and why_not(other, tmp_path)] == []
    run_command(data_command, ["verify", name, "--root", str(tmp_path)])
    assert form in " ".join(capsys.readouterr().out.split())


def test_cars_with_the_list_of_another_packaging_are_explained(tmp_path: Path) -> None:
    for part in ("cars_train/cars_train", "cars_test/cars_test"):
        (tmp_path / "stanford_cars" / part).mkdir(parents=True)
    (tmp_path / "stanford_cars" / "cars_annos.mat").touch()
    assert "cars_annos.mat lists car_ims/, which is not there" in why_not("cars", tmp_path)


# ---- advice that works where it is read


def test_a_fault_in_a_recording_names_the_recipes_key_in_a_run_and_pythons_in_python(
    event_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(event_root / "n_mnist", tmp_path / "n_mnist")
    bad = tmp_path / "n_mnist" / reader("nmnist").find_listing("natural", tmp_path / "n_mnist", complete=False).train[0]
    bad.write_bytes(bad.read_bytes() + b"x")
    with pytest.raises(EventFileError, match=r"data\.repair=true drops it$"):
        read("nmnist", tmp_path)
    from tksbench.data.events import read_atis

    with pytest.raises(EventFileError, match=r"; repair=True drops it$"):
        read_atis(bad)


def test_an_aedat4_recording_called_aedat_is_read_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "CIFAR10DVS" / "cat" / "cifar10_cat_0.aedat"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"#!AER-DAT4.0\r\n")
    (status, _) = reader("dvs_cifar10").verify(tmp_path)
    assert status.state == "corrupt"
    assert "use read_aedat4" not in status.detail


def test_a_run_that_lacks_data_says_what_there_is_instead(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin"
    path.parent.mkdir()
    path.touch()
    spec = DataSpec(name="cifar10", source="real", augment="none")
    with pytest.raises(DataError, match=r"in its version for C programs.*prepare cifar10"):
        registry.load(spec, 2, 42, tmp_path)
