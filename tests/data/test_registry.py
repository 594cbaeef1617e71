"""The registry: names, roots, presence, and miniatures made once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tksbench.data import DATASETS, DataError, data_root, has_real, load, registry
from tksbench.data.base import Data, balanced_subset
from tksbench.data.registry import info
from tksbench.recipe import DataSpec, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_recipes_and_readers_know_the_same_data_sets() -> None:
    assert list(DATASETS) == catalogue.names("data")
    assert [registry.reader(name).name for name in DATASETS] == list(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_what_a_plan_reads_of_a_data_set_is_what_its_reader_has(name: str) -> None:
    facts, reader = registry.info(name), registry.reader(name)
    assert {key: getattr(reader, key) for key in vars(facts) if hasattr(reader, key)} == {
        key: value for key, value in vars(facts).items() if hasattr(reader, key)
    }


def test_importing_the_registry_loads_neither_numpy_nor_torch() -> None:
    code = "import sys, tksbench.data; sys.exit(bool({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [
        ("cifar10", 50_000, 10_000, 10),
        ("cifar100", 50_000, 10_000, 100),
        ("imagenet", 1_281_167, 50_000, 1000),
        ("cub", 5994, 5794, 200),
        ("dogs", 12_000, 8580, 120),
        ("cars", 8144, 8041, 196),
        ("dvs_cifar10", 9000, 1000, 10),
        ("ncaltech101", 7839, 870, 101),
        ("nmnist", 60_000, 10_000, 10),
    ],
)
def test_sizes_are_the_official_ones(name: str, train: int, test: int, classes: int) -> None:
    entry = DATASETS[name]
    assert (entry.n_train, entry.n_test, entry.num_classes) == (train, test, classes)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'cifar100'"):
        registry.info("cifar_100")


def test_root_defaults_to_data_below_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TKSBENCH_DATA", raising=False)
    assert str(data_root()) == "data"


def test_root_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TKSBENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"TKSBENCH_DATA=.*nowhere: no such folder"):
        data_root()


def test_has_real_sees_all_files_or_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    (folder / "train").touch()
    assert not has_real("cifar100", tmp_path)
    (folder / "test").touch()
    assert has_real("cifar100", tmp_path)


@pytest.mark.parametrize(
    "parts", [("cars_train", "cars_test", "devkit", "cars_test_annos_withlabels.mat"), ("car_ims", "cars_annos.mat")]
)
def test_has_real_knows_both_packagings_of_cars(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        assert not has_real("cars", tmp_path)
        (tmp_path / "stanford_cars" / part).mkdir(parents=True)
    assert has_real("cars", tmp_path)


def test_absent_real_set_is_an_error_that_names_the_command(tmp_path: Path, make_spec: Callable[..., DataSpec]) -> None:
    with pytest.raises(DataError, match=r"python -m tksbench\.data prepare cifar10"):
        load(make_spec("cifar10", source="real"), 4, 42, tmp_path)


def test_miniature_is_made_once(tmp_path: Path) -> None:
    home = registry.ensure_miniature("cifar100", tmp_path)
    before = (home / "cifar-100-python" / "train").stat().st_mtime_ns
    registry.ensure_miniature("cifar100", tmp_path)
    assert (home / "cifar-100-python" / "train").stat().st_mtime_ns == before
    assert [path.name for path in home.iterdir()] == ["cifar-100-python"]


@pytest.mark.parametrize(("name", "file"), [("cifar10", "data_batch_1"), ("nmnist", "Train/0/*.bin")])
def test_of_stand_in_data_that_are_damaged_it_says_how_they_are_made_anew(
    stand_in: Callable[..., Path], tmp_path: Path, name: str, file: str
) -> None:
    folder = tmp_path / "miniature" / info(name).folder
    shutil.copytree(stand_in(name) / "miniature" / info(name).folder, folder)
    for path in folder.glob(file):
        path.write_bytes(path.read_bytes()[:-1])
    spec = DataSpec(name=name, source="miniature", augment="none")
    with pytest.raises(DataError) as refused:
        load(spec, 2, 42, tmp_path)
    assert str(refused.value).endswith(f"; these are stand-in data, which are made anew: rm -r {folder}")
    assert "published" not in str(refused.value)


def test_process_that_comes_second_uses_the_first_ones_miniature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        @staticmethod
        def make_miniature(root: Path) -> None:
            for place, text in ((root, "second"), (tmp_path / "miniature", "first")):
                (place / "cifar-100-python").mkdir()
                (place / "cifar-100-python" / "train").write_text(text)
                (place / "cifar-100-python" / ".miniature-version").write_text(f"{registry.MINIATURES_VERSION}\n")

    monkeypatch.setattr(registry, "reader", lambda name: Slow)
    home = registry.ensure_miniature("cifar100", tmp_path)
    assert (home / "cifar-100-python" / "train").read_text() == "first"


def test_miniature_of_another_version_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = registry.ensure_miniature("cifar100", tmp_path)
    (home / "cifar-100-python" / "train").write_text("what an older version wrote")
    monkeypatch.setattr(registry, "MINIATURES_VERSION", registry.MINIATURES_VERSION + 1)
    registry.ensure_miniature("cifar100", tmp_path)
    assert (home / "cifar-100-python" / "train").stat().st_size > 1_000_000
    assert [path.name for path in home.iterdir()] == ["cifar-100-python"]


def test_root_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "miniature").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot write stand-in data for cifar10"):
        registry.ensure_miniature("cifar10", tmp_path)


@pytest.mark.parametrize(("half", "asked"), [("train", 6), ("test", 4)])
def test_a_subset_larger_than_the_real_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_spec: Callable[..., DataSpec], half: str, asked: int
) -> None:
    halves = [range(5), range(3)]  # all that is asked of a half here is its length
    fake = SimpleNamespace(load=lambda *_: Data(*halves, 2, {}))  # type: ignore[arg-type]
    monkeypatch.setattr(registry, "reader", lambda name, **_: fake)
    monkeypatch.setattr(registry, "has_real", lambda *_: True)
    monkeypatch.setattr(registry, "ensure_miniature", lambda *_: tmp_path)
    key = f"{half}_subset"
    with pytest.raises(DataError, match=rf"data\.{key}={asked}: CIFAR-10 in .* has only {asked - 1} such samples"):
        load(make_spec("cifar10", source="real", **{key: asked}), 4, 42, tmp_path)
    load(make_spec("cifar10", source="real", **{key: asked - 1}), 4, 42, tmp_path)
    load(make_spec("cifar10", source="miniature", **{key: asked}), 4, 42, tmp_path)


def test_subset_takes_classes_in_turn() -> None:
    labels = np.array([2, 2, 0, 1, 0, 1, 2, 0])
    assert balanced_subset(labels, 5).tolist() == [2, 3, 0, 4, 5]


def test_subset_that_asks_for_all_keeps_the_order() -> None:
    assert balanced_subset(np.array([1, 0, 1]), None).tolist() == [0, 1, 2]
