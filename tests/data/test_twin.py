"""The twin of CIFAR10-DVS: the same recordings everywhere, and a folder that goes on where it was broken off."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from tksbench.data import registry, twin, twin_set
from tksbench.data.__main__ import main
from tksbench.data.cifar import CIFAR10
from tksbench.data.errors import DataError
from tksbench.data.events import read_aedat2
from tksbench.recipe import catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tksbench.recipe import DataSpec

QUIET = twin.Camera(leak_hz=0.0, shot_hz=0.0)


def _image(seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (3, 32, 32)).astype(np.uint8)


def _digest(image: NDArray[np.uint8], number: int) -> str:
    events = twin.record(image, 3, number, loops=2)
    columns = (events.x, events.y, events.t, events.p)
    return hashlib.sha256(b"".join(np.ascontiguousarray(column).tobytes() for column in columns)).hexdigest()


def test_a_recording_has_the_same_bytes_on_every_machine() -> None:
    assert _digest(_image(), 0) == "cb6fe15b912b675fdf63066993269e530d610a87fa7a8ebb0923bac122a7dd3a"


def test_a_shorter_recording_is_the_beginning_of_a_longer_one() -> None:
    short, long = (twin.record(_image(), 0, 7, loops) for loops in (1, 2))
    for name in ("x", "y", "t", "p"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[: len(short)])
    assert long.t[len(short)] >= 200_000


def test_the_path_is_four_legs_of_ten_pixels_and_closed() -> None:
    path = twin.path()
    steps = np.diff(np.concatenate([path, path[:1]]), axis=0)
    assert np.abs(steps).max() == np.abs(steps).min() == 1  # a fifth of a pixel along each axis, every millisecond
    assert np.ptp(path, axis=0).tolist() == [100, 100]  # twenty pixels of the screen
    corners = path[[0, 50, 100, 150]].tolist()
    assert corners == [[0, -50], [-50, 0], [0, 50], [50, 0]]


def test_a_black_image_on_black_ground_gives_no_event_but_noise() -> None:
    black = np.zeros((3, 32, 32), dtype=np.uint8)
    assert len(twin.record(black, 0, 0, 1, twin.Camera(leak_hz=0.0))) == round(1.0 * 128 * 128 * 0.2)  # shot noise
    leaking = twin.record(black, 0, 0, 1, twin.Camera(leak_hz=12.0, shot_hz=0.0, spread=0.0))
    assert leaking.p.all()  # leakage is seen as rising light
    assert len(leaking) == 2 * 128 * 128  # of 12 a second, two within 200 ms


def test_what_rises_falls_again_within_a_loop() -> None:
    events = twin.record(_image(), 0, 0, 2, QUIET)
    second = events.p[events.t >= 200_000].astype(float)  # the first loop starts from no reference at all
    assert abs(second.mean() - 0.5) < 0.02


def test_a_loop_repeats_the_one_before_to_the_event() -> None:
    camera = QUIET._replace(jitter=0)
    events = twin.record(_image(), 0, 0, 3, camera)
    loops = [np.flatnonzero(events.t // 200_000 == loop) for loop in range(3)]
    counts = [len(loop) for loop in loops]
    assert counts[1] == pytest.approx(counts[2], rel=0.02)


def test_a_lower_threshold_gives_more_events() -> None:
    few, many = (len(twin.record(_image(), 0, 0, 1, QUIET._replace(threshold=t))) for t in (0.5, 0.25))
    assert many > 1.5 * few


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a CIFAR-10 of three patterns."""
    images = np.stack([_image(seed) for seed in range(3)])[np.arange(10_000) % 3]
    labels = np.repeat(np.arange(10), 1000)
    monkeypatch.setattr(twin_set, "has_real", lambda name, root: True)
    monkeypatch.setattr(CIFAR10, "read_half", lambda self, folder, train: (images, labels, {}))
    return tmp_path


def test_a_broken_off_twin_goes_on_and_is_the_same(root: Path) -> None:
    home = twin_set.make_twin(root, 2, 1, loops=1, processes=1)
    files = sorted(home.glob("CIFAR10DVS/*/*.aedat"))
    assert [file.name for file in files[:3]] == [f"cifar10_airplane_{n}.aedat" for n in (0, 1, 900)]
    assert len(files) == 30
    before = {file: file.read_bytes() for file in files}
    files[4].unlink()
    done = []
    twin_set.make_twin(root, 2, 1, loops=1, processes=1, progress=lambda n, total: done.append((n, total)))
    assert done == [(1, 1)]
    assert {file: file.read_bytes() for file in sorted(home.glob("CIFAR10DVS/*/*.aedat"))} == before
    assert len(read_aedat2(files[0])) > 1000


def test_recordings_of_another_version_are_moved_aside(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = twin_set.make_twin(root, 1, 1, loops=1, processes=1)
    monkeypatch.setattr(twin_set, "VERSION", 2)
    assert twin_set.make_twin(root, 1, 1, loops=1, processes=1) == home
    for folder in ("CIFAR10DVS", "CIFAR10DVS-of-version-1"):
        assert (home / folder / "cat" / "cifar10_cat_0.aedat").exists()


def test_recordings_of_each_length_have_a_folder_of_their_own(root: Path) -> None:
    homes = [twin_set.make_twin(root, 1, 1, loops=loops, processes=1) for loops in (1, 2)]
    assert [home.relative_to(root).as_posix() for home in homes] == ["twin/1-loops", "twin/2-loops"]


def _spec(**changes: Any) -> DataSpec:
    plain = {"name": "dvs_cifar10", "augment": "none", "source": "twin", "loops": 1, "image_size": 16}
    return cast("DataSpec", catalogue.load("data", plain | {"train_subset": 20, "test_subset": 10} | changes))


def test_a_run_on_the_twin_makes_what_it_needs_and_reads_nothing_else(root: Path) -> None:
    data = registry.load(_spec(), 2, 0, root)
    assert (len(data.train), len(data.test)) == (20, 10)
    twin_set.make_twin(root, 4, 2, loops=1, processes=1)
    assert registry.load(_spec(), 2, 0, root).manifest == data.manifest


def test_a_run_on_another_split_of_the_twin_reads_other_recordings(root: Path) -> None:
    registry.load(_spec(split="tebn"), 2, 0, root)
    names = {path.name for path in (root / "twin/1-loops/CIFAR10DVS/cat").iterdir()}
    assert names == {"cifar10_cat_0.aedat", "cifar10_cat_100.aedat", "cifar10_cat_101.aedat"}


def test_a_twin_that_is_there_is_read_without_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin_set.make_twin(root, 2, 1, loops=1, processes=1)
    monkeypatch.setattr(twin_set, "has_real", lambda name, root: False)
    assert registry.has_twin("dvs_cifar10", root)
    assert len(registry.load(_spec(), 2, 0, root).train) == 20
    with pytest.raises(DataError, match="10 recordings of it are not in"):
        registry.load(_spec(train_subset=30), 2, 0, root)


def test_a_twin_can_be_made_where_cifar10_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not registry.has_twin("dvs_cifar10", tmp_path)
    monkeypatch.setattr(registry, "has_real", lambda name, root: name == "cifar10")
    assert registry.has_twin("dvs_cifar10", tmp_path)
    assert not registry.has_twin("ncaltech101", tmp_path)


def test_a_twin_has_a_name_of_its_own() -> None:
    assert registry.title_of("dvs_cifar10", "twin") == "DVS-CIFAR10, twin from CIFAR-10"
    assert registry.title_of("dvs_cifar10", "real") == "DVS-CIFAR10"


def test_a_twin_is_never_read_as_the_real_set(root: Path) -> None:
    home = twin_set.make_twin(root, 1, 1, loops=1, processes=1)
    spec = _spec(source="real")
    with pytest.raises(DataError, match="holds a twin of DVS-CIFAR10, not its real recordings"):
        registry.load(spec, 2, 0, home)


def test_checks_notice_a_twin_of_noise(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin, "DVS128", twin.Camera(threshold=3.9))
    monkeypatch.setattr(twin.record, "__defaults__", (twin.LOOPS, twin.DVS128))
    home = twin_set.make_twin(root, 1, 1, loops=2, processes=1)
    assert not all(check.ok for check in twin_set.check_twin(home))


@pytest.mark.parametrize(("train", "test", "loops"), [(0, 1, 1), (901, 1, 1), (1, 101, 1), (1, 1, 7)])
def test_numbers_out_of_range_are_refused(root: Path, train: int, test: int, loops: int) -> None:
    with pytest.raises(DataError, match="is not between 1 and"):
        twin_set.make_twin(root, train, test, loops)


def test_a_twin_needs_the_real_cifar10(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CIFAR-10 is not complete in .*prepare cifar10"):
        twin_set.make_twin(tmp_path)
    assert not registry.has_twin("dvs_cifar10", tmp_path)  # an attempt that failed is no twin


def test_only_dvs_cifar10_has_a_twin(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nmnist: only dvs_cifar10 has a twin"):
        main(["twin", "nmnist", "--root", str(tmp_path)])


def test_the_command_makes_a_twin_and_prints_its_checks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["twin", "dvs_cifar10", "--root", str(root), "--train", "1", "--test", "1", "--loops", "1"])
    printed = capsys.readouterr().out
    assert "twin of DVS-CIFAR10 in" in printed
    assert "share of rising events" in printed
