"""From recordings to batches: splits, frame cache, augmentation."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tvf
from torchvision.transforms import InterpolationMode

from tksbench.data import DataError, event_splits
from tksbench.data.event_augment import augment_frames, draw
from tksbench.data.event_frames import FrameMaker, resize
from tksbench.data.event_splits import Listing, parse_manifest, read_manifest, split_by_rule
from tksbench.data.events import EventFileError, Events
from tksbench.data.files import new_scratch
from tksbench.data.frame_cache import cache_folder, cache_key, open_frames, open_or_build, sound_digest
from tksbench.data.miniature_events import write_aedat2, write_atis
from tksbench.data.registry import reader
from tksbench.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tksbench.data.base import Data


def recording(seed: int, side: int = 34, n: int = 200) -> Events:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, side, (2, n)).astype(np.int16)
    return Events(x, y, np.sort(rng.integers(0, 300_000, n)), rng.integers(0, 2, n).astype(np.uint8))


@pytest.fixture
def nmnist(tmp_path: Path) -> Path:
    """A data root with 6 + 2 N-MNIST recordings of the digits 3 and 7."""
    for seed, name in enumerate(
        [*(f"Train/{d}/0000{i}.bin" for d in (3, 7) for i in (1, 2, 10)), "Test/3/1", "Test/7/2"]
    ):
        path = tmp_path / "n_mnist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atis(path.with_suffix(".bin"), recording(seed))
    return tmp_path


def load_nmnist(root: Path, T: int = 4, seed: int = 0, **changes: object) -> Data:
    spec = {"name": "nmnist", "source": "miniature", "augment": "none", **changes}
    made = DataSpec.model_validate(spec)
    return reader(made.name).load(made, T, seed, root)


# ---- splits


@pytest.mark.parametrize(
    ("name", "split", "sizes", "sha256"),
    [
        ("dvs_cifar10", "natural", (9000, 1000), "eb67edbd427aeeaed7c0dcf32ac124a621f0d75a4e131dbdf48563c74adfa19c"),
        ("dvs_cifar10", "tebn", (9000, 1000), "403bdce64573b79bdefbf4b921e153a971cf2891c61716c5263903919649bd03"),
        ("ncaltech101", "natural", (7839, 870), "c4c71bdf750f3ce5eb21858403f37ec244d80b8927b1b1c66be318933c6f862c"),
    ],
)
def test_manifests_expand_to_the_pinned_lists(name: str, split: str, sizes: tuple[int, int], sha256: str) -> None:
    listing = read_manifest(name, split)
    assert (len(listing.train), len(listing.test)) == sizes
    assert not set(listing.train) & set(listing.test)
    assert listing.sha256 == sha256


@pytest.mark.parametrize(
    ("split", "last_test"), [("natural", "cat/cifar10_cat_999.aedat"), ("tebn", "cat/cifar10_cat_99.aedat")]
)
def test_dvs_cifar10_tests_on_one_tenth_of_each_class(split: str, last_test: str) -> None:
    cats = [name for name in read_manifest("dvs_cifar10", split).test if name.startswith("cat/")]
    assert len(cats) == 100
    assert cats[-1] == last_test


def test_ncaltech101_manifest_is_what_the_rule_gives() -> None:
    manifest = read_manifest("ncaltech101", "natural")
    assert split_by_rule((*manifest.test, *manifest.train)) == manifest
    assert manifest.train[0] == "BACKGROUND_Google/image_0001.bin"


def test_rule_rounds_half_to_even_and_sorts_numbers_by_value() -> None:
    # round(0.9 * 5) = round(4.5) = 4, in Python
    listing = split_by_rule([f"a/image_{n}.bin" for n in (10, 9, 2, 1, 100)])
    assert listing == Listing(tuple(f"a/image_{n}.bin" for n in (1, 2, 9, 10)), ("a/image_100.bin",))


def test_a_changed_manifest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = Listing(("a",), ("b",)), "0" * 64
    monkeypatch.setattr(event_splits, "parse_manifest", lambda text: changed)
    with pytest.raises(DataError, match=r"dvs_cifar10_tebn\.txt: expands to SHA-256"):
        read_manifest("dvs_cifar10", "tebn")


def test_manifest_ranges_keep_leading_zeros() -> None:
    listing, sha256 = parse_manifest("# note\nsha256 ab\ntrain x/i_{0008..0010}.bin\ntest y\n")
    assert listing == Listing(("x/i_0008.bin", "x/i_0009.bin", "x/i_0010.bin"), ("y",))
    assert sha256 == "ab"


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="ncaltech101: no split 'tebn'; known: natural"):
        read_manifest("ncaltech101", "tebn")


def test_missing_dvs_cifar10_recordings_are_named(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    write_aedat2(tmp_path / "cat" / "cifar10_cat_0.aedat", recording(0, 128))
    with pytest.raises(DataError, match=r"9999 of 10000 recordings are missing, the first airplane/cifar10_airplane_0"):
        reader("dvs_cifar10").find_listing("natural", tmp_path, complete=True)


def test_unknown_dvs_cifar10_recordings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    write_aedat2(tmp_path / "cat" / "cifar10_cat_1000.aedat", recording(0, 128))
    with pytest.raises(DataError, match="cifar10_cat_1000"):
        reader("dvs_cifar10").find_listing("natural", tmp_path, complete=False)


def test_incomplete_ncaltech101_classes_are_named(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    write_atis(tmp_path / "ant" / "image_0001.bin", recording(0))
    with pytest.raises(DataError, match="101 classes are not complete, such as BACKGROUND_Google holds 0"):
        reader("ncaltech101").find_listing("natural", tmp_path, complete=True)


# ---- loading


def test_nmnist_keeps_the_split_on_disk_and_counts(nmnist: Path) -> None:
    data = load_nmnist(nmnist)
    assert data.train.labels.tolist() == [3, 3, 3, 7, 7, 7]
    assert data.test.labels.tolist() == [3, 7]
    frames, labels = data.train.__getitems__([(0, 5), (0, 0)])
    assert frames.shape == (2, 4, 2, 34, 34)
    assert labels.tolist() == [7, 3]
    expected = FrameMaker("nmnist", 4, "time", 34).frames(nmnist / "n_mnist/Train/3/00001.bin")
    assert torch.equal(frames[1], torch.from_numpy(expected).float())


def test_golden_values_of_resized_frames() -> None:
    found = resize(np.arange(36).reshape(1, 1, 6, 6), 4)[0, 0]
    expected = [[0, 1.6667, 3.3333, 5], [10, 11.6667, 13.3333, 15]]
    assert found[:2] == pytest.approx(np.array(expected), abs=5e-5)


def test_resized_frames_are_torch_bilinear_with_aligned_corners() -> None:
    counts = np.zeros((1, 2, 3, 5), dtype=np.int16)
    counts[0, 0, 0, 0], counts[0, 1, 2, 4] = 8, 6
    frames = resize(counts, 9)
    assert frames[0, 0, 0, 0] == 8  # corners stay
    assert frames[0, 1, 8, 8] == 6
    assert frames[0, 0, 2, 1] == 8 * 0.5 * 0.5  # half a row and half a column away


def test_ncaltech101_is_framed_in_its_own_bounding_box(tmp_path: Path) -> None:
    inner, moved = recording(1, 40), tmp_path / "moved.bin"
    write_atis(tmp_path / "still.bin", inner)
    write_atis(moved, Events(inner.x + 100, inner.y + 60, inner.t, inner.p))
    maker = FrameMaker("ncaltech101", 5, "time", 48)
    assert maker.read(moved).x.min() == maker.read(moved).y.min() == 0
    np.testing.assert_array_equal(maker.frames(moved), maker.frames(tmp_path / "still.bin"))


def test_count_framing_gives_every_frame_as_many_events(nmnist: Path) -> None:
    frames, _ = load_nmnist(nmnist, framing="count").train.__getitems__([(0, 0)])
    assert frames.sum((0, 2, 3, 4)).tolist() == [50, 50, 50, 50]


def test_subsets_are_balanced(nmnist: Path) -> None:
    assert load_nmnist(nmnist, train_subset=4).train.labels.tolist() == [3, 7, 3, 7]


def test_a_split_travels_to_a_worker_without_its_frames(nmnist: Path) -> None:
    train = load_nmnist(nmnist).train
    before, _ = train.__getitems__([(0, 1)])
    sent = pickle.dumps(train)
    assert len(sent) < 2000
    assert torch.equal(pickle.loads(sent).__getitems__([(0, 1)])[0], before)  # noqa: S301


def test_augmentation_depends_on_seed_epoch_and_index_alone(nmnist: Path) -> None:
    train = load_nmnist(nmnist, augment="dvs").train
    alone, _ = train.__getitems__([(3, 4)])
    among, _ = train.__getitems__([(3, 1), (3, 4), (2, 4)])
    assert torch.equal(alone[0], among[1])
    assert not torch.equal(among[1], among[2])
    other, _ = load_nmnist(nmnist, augment="dvs", seed=1).train.__getitems__([(3, 4)])
    assert not torch.equal(alone, other)


def test_test_frames_are_never_augmented(nmnist: Path) -> None:
    plain, augmented = load_nmnist(nmnist).test, load_nmnist(nmnist, augment="dvs").test
    assert torch.equal(plain.__getitems__([(1, 0)])[0], augmented.__getitems__([(1, 0)])[0])


def test_image_augmentation_is_refused_for_events(nmnist: Path) -> None:
    with pytest.raises(DataError, match=r"data\.augment=strong: nmnist has dvs, none"):
        load_nmnist(nmnist, augment="strong")


def test_a_malformed_recording_is_named_or_repaired_by_flag(nmnist: Path) -> None:
    bad = nmnist / "n_mnist/Test/7/2.bin"
    bad.write_bytes(bad.read_bytes()[:-2])
    with pytest.raises(EventFileError, match=r"7/2\.bin: byte 995"):
        load_nmnist(nmnist)
    assert len(load_nmnist(nmnist, repair=True).test) == 2


def test_the_overflow_rule_is_a_field_of_the_recipe(tmp_path: Path) -> None:
    one = recording(0)
    for number in range(1, 6):
        path = tmp_path / "Caltech101" / "ant" / f"image_000{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atis(path, one)
        path.write_bytes(path.read_bytes() + bytes([5, 240, 0x7F, 0xFF, 0xFF]))  # row 240, at the latest time there is
    spec = DataSpec(name="ncaltech101", source="miniature", augment="none", image_size=34)
    rule = reader(spec.name).load(spec, 4, 0, tmp_path).test.__getitems__([(0, 0)])[0]
    event = (
        reader(spec.name)
        .load(spec.model_copy(update={"overflow": False}), 4, 0, tmp_path)
        .test.__getitems__([(0, 0)])[0]
    )
    assert (rule[0].sum((1, 2, 3)) > 0).all()  # no event: the recording ends where it did
    assert (event[0].sum((1, 2, 3)) > 0).tolist() == [True, False, False, False]  # one event 8 seconds later


@pytest.mark.parametrize("framing", ["time", "count"])
def test_a_recording_without_an_event_in_any_frame_is_refused(nmnist: Path, framing: str) -> None:
    few = Events(*(np.ones(3, dtype=np.int16),) * 2, np.full(3, 70), np.ones(3, dtype=np.uint8))  # all at one time
    write_atis(nmnist / "n_mnist/Train/7/00002.bin", few)
    with pytest.raises(EventFileError, match=r"7/00002\.bin: none of its 3 events falls into any of the 4 frames"):
        load_nmnist(nmnist, framing=framing)
    frames, _ = load_nmnist(nmnist, framing=framing, repair=True).train.__getitems__([(0, 4)])
    assert frames.sum() == 0


@pytest.mark.parametrize(
    ("subsets", "message"),
    [
        ({}, "found 6 of 60000 training recordings"),
        ({"train_subset": 4}, "found 2 of 10000 test recordings"),
        ({"train_subset": 7, "test_subset": 2}, r"found 6 of 60000 .* data\.train_subset of at most 6"),
        ({"train_subset": 6, "test_subset": 3}, r"found 2 of 10000 .* data\.test_subset of at most 2"),
    ],
)
def test_a_part_of_the_real_set_is_no_real_set(nmnist: Path, subsets: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_nmnist(nmnist, source="real", **subsets)


def test_a_subset_of_a_part_of_the_real_set_is_taken(nmnist: Path) -> None:
    data = load_nmnist(nmnist, source="real", train_subset=6, test_subset=2)
    assert (len(data.train), len(data.test)) == (6, 2)


def test_verify_says_which_folder_is_corrupt_and_what_is_missing(nmnist: Path) -> None:
    (nmnist / "n_mnist/Train/3/00001.bin").write_bytes(b"abc")
    states = {status.path: status for status in reader("nmnist").verify(nmnist)}
    assert states["n_mnist/Train/3"].state == "corrupt"
    assert "00001.bin: byte 0" in states["n_mnist/Train/3"].detail
    assert states["n_mnist/Train/7"].state == "ok"
    assert states["n_mnist"].detail == "6 + 2 recordings of 60000 + 10000"


# ---- cache


def rows(value: float, n: int = 3) -> Iterator[np.ndarray]:
    return (np.full((2, 2), value + i, dtype=np.float32) for i in range(n))


def test_cache_is_an_ordinary_npy_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "frames.npy"
    digest = open_or_build(path, rows(1.0), (3, 2, 2), np.float32)
    assert open_frames(path)[:, 0, 0].tolist() == [1, 2, 3]
    assert np.load(path).shape == (3, 2, 2)
    assert sound_digest(path) == digest
    assert [p.name for p in path.parent.iterdir()] == ["frames.npy"]


def test_a_sound_cache_is_not_built_again(tmp_path: Path) -> None:
    path = tmp_path / "frames.npy"
    open_or_build(path, rows(1.0), (3, 2, 2), np.float32)
    open_or_build(path, rows(9.0), (3, 2, 2), np.float32)
    assert open_frames(path)[0, 0, 0] == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "frames.npy"
    open_or_build(path, rows(1.0), (3, 2, 2), np.float32)
    raw = bytearray(path.read_bytes())
    raw[140] ^= 1
    path.write_bytes({"flip": bytes(raw), "cut": bytes(raw[:-40]), "empty": b""}[damage])
    assert sound_digest(path) is None
    open_or_build(path, rows(9.0), (3, 2, 2), np.float32)
    assert open_frames(path)[0, 0, 0] == 9


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield np.zeros((2, 2), dtype=np.float32)
        raise EventFileError("bad recording")

    with pytest.raises(EventFileError):
        open_or_build(tmp_path / "frames.npy", failing(), (3, 2, 2), np.float32)
    assert list(tmp_path.iterdir()) == []


def test_who_comes_while_it_is_built_waits_and_builds_nothing(tmp_path: Path) -> None:
    path, begun, found = tmp_path / "cache" / "frames.npy", threading.Event(), []

    def watched() -> Iterator[np.ndarray]:
        begun.set()
        time.sleep(0.2)
        assert not found
        yield from rows(1.0)

    def unwanted() -> Iterator[np.ndarray]:
        raise AssertionError("built twice")
        yield

    def second() -> None:
        begun.wait(10)
        found.append(open_or_build(path, unwanted(), (3, 2, 2), np.float32))

    other = threading.Thread(target=second)
    other.start()
    digest = open_or_build(path, watched(), (3, 2, 2), np.float32)
    other.join(10)
    assert found == [digest]
    assert [file.name for file in path.parent.iterdir()] == ["frames.npy"]


def test_two_builds_at_once_leave_one_sound_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames.npy"

    def without_locks(*_: object) -> None:  # as some file systems are
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", without_locks)

    def interrupted() -> Iterator[np.ndarray]:  # while this build runs, another one starts and ends
        for row in rows(1.0):
            open_or_build(path, rows(1.0), (3, 2, 2), np.float32)
            yield row

    digest = open_or_build(path, interrupted(), (3, 2, 2), np.float32)
    assert sound_digest(path) == digest
    assert open_frames(path)[:, 1, 1].tolist() == [1, 2, 3]


def test_an_unwritable_cache_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="set TKSBENCH_CACHE"):
        open_or_build(tmp_path / "file" / "frames.npy", rows(1.0), (3, 2, 2), np.float32)


def test_key_changes_with_files_and_settings(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("same")
    settings = {"T": 4, "by": "time"}

    def named(*names: str) -> dict[str, Path]:
        return {name: tmp_path / name for name in names}

    key = cache_key(named("a", "b"), settings)
    assert cache_key(named("a", "b"), dict(settings)) == key
    others = {cache_key(named("b", "a"), settings), cache_key(named("a", "b"), settings | {"T": 5})}
    os.utime(tmp_path / "a", ns=(1, 1))
    others.add(cache_key(named("a", "b"), settings))
    (tmp_path / "a").write_text("longer")
    others.add(cache_key(named("a", "b"), settings))
    assert len(others | {key}) == 5


def test_cache_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder(tmp_path) == tmp_path / "cache"
    monkeypatch.setenv("TKSBENCH_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder(tmp_path) == tmp_path / "elsewhere"


# ---- augmentation


def test_augmentation_equals_torchvision() -> None:
    frames = torch.rand(40, 3, 2, 48, 48, dtype=torch.float64)
    uniforms = draw(40, torch.Generator().manual_seed(5))
    got = augment_frames(frames, uniforms)
    for i, (top, left, flip, angle) in enumerate(uniforms.tolist()):
        padded = tvf.pad(frames[i], [4, 4])
        want = tvf.crop(padded, int(top * 9), int(left * 9), 48, 48)
        want = tvf.hflip(want) if flip < 0.5 else want
        want = tvf.rotate(want, (2 * angle - 1) * 15, InterpolationMode.NEAREST, fill=0)
        # a source pixel halfway between two may be rounded to the other one
        assert (got[i] != want).double().mean() < 0.002


def test_augmentation_is_one_for_all_frames_of_a_recording() -> None:
    frame = torch.rand(1, 1, 1, 48, 48).expand(1, 5, 2, 48, 48)
    got = augment_frames(frame, draw(1, torch.Generator().manual_seed(1)))
    assert torch.equal(got, got[:, :1, :1].expand_as(got))


def test_no_turn_and_centred_crop_change_nothing() -> None:
    frames = torch.rand(1, 2, 2, 48, 48)
    assert torch.equal(augment_frames(frames, torch.tensor([[0.5, 0.5, 0.9, 0.5]])), frames)


def test_what_a_killed_builder_left_is_removed_and_a_living_ones_stays(tmp_path: Path) -> None:
    path = tmp_path / "frames-0123456789abcdef.npy"
    mine = new_scratch(tmp_path, path.stem)
    mine.touch()
    dead = subprocess.run(
        [sys.executable, "-c", _LEAVE, str(path)], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(dead).exists()
    open_or_build(path, iter(np.zeros((2, 3))), (2, 3), np.float32)
    assert sorted(tmp_path.iterdir()) == sorted([mine, path])


_LEAVE = """
import sys
from pathlib import Path
from tksbench.data.files import new_scratch
path = Path(sys.argv[1])
left = new_scratch(path.parent, path.stem)
left.touch()
print(left)
"""
