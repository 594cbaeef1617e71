"""The readers, each with valid files to damage. A reader of several files takes the first byte for which one it is."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import io
import json
import random
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.arrays import ARRAYS
from tests.fuzz.reader import Reader, chosen, write_file, written
from tests.fuzz.synsets import SYNSETS
from tests.records import record_parts
from tksbench.data import finegrained
from tksbench.data.archives import unpacked
from tksbench.data.events import read_aedat2, read_atis, to_frames
from tksbench.data.files import read_checksums
from tksbench.data.framing import Events
from tksbench.data.imagenet_index import read_index
from tksbench.data.miniature_events import write_aedat2, write_atis
from tksbench.data.tars import members
from tksbench.recipe import Run, expand, load_recipe
from tksbench.runs import Ledger, RunDir, read_attempts, read_jsonl
from tksbench.runs.lease import read_holder
from tksbench.runs.record import load_record, make_record
from tksbench.runs.status import read_status

RECIPE = """\
about: what a recipe may say
name: "{data.name}/{model.name}/{method}/{params.alpha}"
seeds: 2
first_seed: 7
protocol:
  data: {name: cifar10, augment: plain, train_subset: 100}
  model: &model {name: spiking_resnet19, T: 2, width: 0.03}
  optim:
    name: adamw
    lr: 1e-2
    weight_decay: 0.01
    epochs: 3
    batch_size: 16
    warmup_epochs: 1
methods: {tks: {temperature: 3.0}, baseline: {}, custom: {name: "json:dumps"}}
runs:
  - {method: tks, params: {alpha: 0.5}}
  - {method: tks, grid: {params.alpha: [0.1, 0.2], model.T: [2, 4]}, name: "{model.T}-{params.alpha}"}
  - {method: baseline, model: *model, name: plain}
scales:
  paper: {only: ["*"]}
  smoke: {optim: {epochs: 1, warmup_epochs: 0}, seeds: 1, execution: {device: cpu}, method: {alpha: 0.3}}
execution: {device: cpu, checkpoint_minutes: 60}
"""


# ---- recordings


def _events(n: int, side: int) -> Events:
    rng = np.random.default_rng(n)
    x, y = rng.integers(0, side, (2, n)).astype(np.int16)
    return Events(x, y, np.sort(rng.integers(0, 2**20, n)), rng.integers(0, 2, n).astype(np.uint8))


@functools.cache
def _aedat2_seeds() -> list[bytes]:
    return [written(lambda path, n=n: write_aedat2(path, _events(n, 128))) for n in (1, 40, 300)]


@functools.cache
def _atis_seeds() -> list[bytes]:
    return [written(lambda path, n=n: write_atis(path, _events(n, 34))) for n in (1, 40, 300)]


def _read_recording(read: Callable[..., Events], suffix: str) -> Callable[[bytes, Path], object]:
    def reader(raw: bytes, folder: Path) -> object:
        path = write_file(folder, f"x{suffix}", raw)
        found = []
        for repair in (True, False):
            events = read(path, repair=repair)
            for by in ("time", "count"):
                found.append(to_frames(events, 4, events.height, events.width, by).sum())
        return found

    return reader


# ---- CIFAR


# ---- lists

_CUB = ("images.txt", "image_class_labels.txt", "train_test_split.txt")
_CUB_TEXTS = (b"1 001.A/a.jpg\n2 002.B/b.jpg\n", b"1 1\n2 200\n", b"1 1\n2 0\n")
_SUMS = b"".join(hashlib.md5(text, usedforsecurity=False).hexdigest().encode() + b"  a b.txt\n" for text in _CUB_TEXTS)


def _read_list(raw: bytes, folder: Path) -> object:
    name, text = chosen(raw, (*_CUB, "checksums.txt"))
    for file, valid in zip(_CUB, _CUB_TEXTS, strict=True):
        write_file(folder, file, valid)
    write_file(folder, name, text)
    return read_checksums(folder) if name == "checksums.txt" else finegrained.cub_lists(folder)


_MATS = ("StanfordDogs/train_list.mat", "stanford_cars/devkit/cars_train_annos.mat", "joint/cars_annos.mat")


@functools.cache
def _mat_seeds() -> list[bytes]:
    from scipy.io import savemat

    names = np.array(["a/b.jpg", "c/d.jpg"], dtype=object)
    kinds = [("fname", object), ("relative_im_path", object), ("class", object), ("test", object)]
    rows = np.array([("a.jpg", "car_ims/a.jpg", 1, 0), ("b.jpg", "car_ims/b.jpg", 196, 1)], dtype=kinds)
    contents = ({"file_list": names, "labels": np.array([1, 120])}, {"annotations": rows}, {"annotations": rows})

    def save(path: Path, content: dict[str, object], packed: bool) -> None:
        with path.open("wb") as file:
            savemat(file, content, do_compression=packed)

    return [
        bytes([place]) + written(lambda path, c=content, p=packed: save(path, c, p))
        for place, content in enumerate(contents)
        for packed in (False, False, True)
    ]


def _read_mat(raw: bytes, folder: Path) -> object:
    name, content = chosen(raw, _MATS)
    write_file(folder, name, content)
    if name == _MATS[0]:
        write_file(folder, "StanfordDogs/test_list.mat", content)
        return finegrained.dogs_lists(folder / "StanfordDogs")
    if name == _MATS[1]:
        write_file(folder, "stanford_cars/cars_test_annos_withlabels.mat", content)
        return finegrained.cars_lists(folder / "stanford_cars")
    return finegrained.cars_lists(folder / "joint")


@functools.cache
def _image_seeds() -> list[bytes]:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8))

    def saved(mode: str, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, kind, **options)
        return buffer.getvalue()

    jpegs = saved("RGB", "JPEG"), saved("CMYK", "JPEG"), saved("L", "JPEG", progressive=True)
    return [*jpegs, saved("P", "PNG"), saved("RGBA", "PNG")]


def _read_image(raw: bytes, folder: Path) -> object:
    from tksbench.data.static import decode_rgb

    return decode_rgb(raw, "image")


def _mend_png(rng: random.Random, raw: bytes) -> bytes:
    """Right checksums for the parts of a PNG, three times in four."""
    if raw[:4] != b"\x89PNG" or rng.random() < 0.25:
        return raw
    out, place = bytearray(raw), 8
    while place + 12 <= len(out):
        (size,) = struct.unpack_from(">I", out, place)
        end = place + 8 + size
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[place + 4 : end]))
        place = end + 4
    return bytes(out)


# ---- ImageNet


def _index(packing: str, lines: bytes) -> bytes:
    count = lines.count(b"\n")
    return (
        b"tksbench-imagenet-index 1 %s %d sha256:%s\n"
        % (
            packing.encode(),
            count,
            hashlib.sha256(lines).hexdigest().encode(),
        )
        + lines
    )


def _index_seeds() -> list[bytes]:
    folders = b"".join(b"n01/n01_%d.JPEG\n" % i for i in range(2))
    tars = b"".join(b"n01/n01_%d.JPEG\t%d\t%d\n" % (i, 512 + 1024 * i, 20) for i in range(2))
    return [_index("folders", folders), _index("tars", tars)]


def _mend_index(rng: random.Random, raw: bytes) -> bytes:
    first, _, lines = raw.partition(b"\n")
    if rng.random() < 0.25:
        return raw
    return _index("tars" if b"tars" in first else "folders", lines)


def _read_index(raw: bytes, folder: Path) -> object:
    write_file(folder, "train.index", raw)
    write_file(folder, "train/n01.tar", _tar_seeds()[0])
    for place in range(2):
        write_file(folder, f"train/n01/n01_{place}.JPEG", b"an image")
    images = read_index(folder / "train")
    assert images is not None
    images.names()
    return [images.read(index) for index in range(min(len(images), 3))]


@functools.cache
def _tar_seeds() -> list[bytes]:
    short, long = ("n01_0.JPEG", "n01_1.JPEG"), ("x" * 120 + ".JPEG", "\u00b5.JPEG")
    kinds = (tarfile.USTAR_FORMAT, short), (tarfile.GNU_FORMAT, long), (tarfile.PAX_FORMAT, long)
    return [_tar(form, names) for form, names in kinds]


def _tar(form: int, names: tuple[str, ...]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 20
            archive.addfile(member, io.BytesIO(b"01234567890123456789"))
    return buffer.getvalue()


def _mend_tar(rng: random.Random, raw: bytes) -> bytes:
    """Right checksums for the headers of a tar, three times in four."""
    if rng.random() < 0.25:
        return raw
    out = bytearray(raw)
    for start in range(0, len(out) - 511, 512):
        if out[start + 257 : start + 262] == b"ustar":
            out[start + 148 : start + 156] = b" " * 8
            out[start + 148 : start + 156] = b"%06o\0 " % sum(out[start : start + 512])
    return bytes(out)


def _read_tar(raw: bytes, folder: Path) -> object:
    return list(members(write_file(folder, "n01.tar", raw)))


_ARCHIVES = ("x.tar.gz", "x.tar", "x.zip")


@functools.cache
def _archive_seeds() -> list[bytes]:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", "hello" * 20)
        archive.writestr("c.txt", "world")
    tars = _tar_seeds()
    return [*(b"\0" + raw for raw in tars), *(b"\1" + raw for raw in tars), *[b"\2" + zipped.getvalue()] * 6]


def _mend_archive(rng: random.Random, raw: bytes) -> bytes:
    """A tar is damaged before it is compressed, or after."""
    if not raw or raw[0] % 3 == 2:
        return raw
    content = _mend_tar(rng, raw[1:])
    if raw[0] % 3 == 1:
        return raw[:1] + content
    packed = bytearray(gzip.compress(content, 1, mtime=0))
    if rng.random() < 0.3:
        packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
    return raw[:1] + bytes(packed)


def _read_archive(raw: bytes, folder: Path) -> object:
    name, content = chosen(raw, _ARCHIVES)
    with unpacked(write_file(folder, name, content), folder) as root:
        return sorted(root.rglob("*"))


# ---- recipes and the ledger


@functools.cache
def _runs() -> list[Run]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_file(Path(folder), "r.yaml", RECIPE.encode())
        return [dataclasses.replace(run, recipe="r.yaml") for run in expand(load_recipe(path))]


def _read_recipe(raw: bytes, folder: Path) -> object:
    recipe = load_recipe(write_file(folder, "recipe.yaml", raw))
    return expand(recipe, "smoke" if "smoke" in str(recipe.root.plain().get("scales", "")) else "paper")


@functools.cache
def _record_seeds() -> list[bytes]:
    """Without their seal, which would refuse whatever is damaged before anything looks at it."""
    records = [make_record(**record_parts(dataclasses.replace(run, first_seed=42))) for run in _runs()[:2]]
    return [json.dumps(record.model_dump(mode="json", by_alias=True), indent=1).encode() for record in records]


def _read_record(raw: bytes, folder: Path) -> object:
    return load_record(write_file(folder, f"{_runs()[0].id}.json", raw))


_RUN_FILES = ("run.json", "progress.json", "attempts.jsonl", "leases/1.json")
_LOGS = ("metrics.jsonl", "losses.jsonl")


@functools.cache
def _run_seeds() -> list[bytes]:
    progress = {"epoch": 1, "epochs": 3, "step": 2, "steps": 9, "loss": 2.3, "top1": 10.0, "images_per_s": 3.0}
    attempt = {"event": "end", "outcome": "failed", "reason": "x", "time": "2026-01-01T00:00:00+00:00", "host": "a"}
    lease = {"host": "a", "machine": "b", "pid": 1, "started": "1", "released": False}
    texts = (json.dumps(_runs()[0].to_json(), indent=1), json.dumps(progress | {"eta_s": 1}))
    texts += ("\n".join([json.dumps(attempt)] * 2), json.dumps(lease))
    return [bytes([place]) + text.encode() + b"\n" for place, text in enumerate(texts)]


def _read_run(raw: bytes, folder: Path) -> object:
    name, content = chosen(raw, _RUN_FILES)
    run_dir = RunDir(folder / "runs" / _runs()[0].id)
    path = write_file(run_dir.path, name, content)
    try:
        status = read_status(run_dir)
        rows = [read_attempts(run_dir), read_holder(run_dir)]
        run = Ledger(folder).load_run(run_dir) if name == "run.json" else None
        return json.dumps(status.to_json()), rows, run
    finally:
        path.unlink()


@functools.cache
def _log_seeds() -> list[bytes]:
    row = {"epoch": 0, "lr": 0.1, "alpha": None, "train_loss": 2.3, "train_top1": 10.0, "test_loss": 2.3}
    row |= {"test_top1": 10.0, "test_top1_halves": [10.0, 10.0], "note": "\u00b5"}
    metrics = [json.dumps(row | {"epoch": epoch}, ensure_ascii=False) for epoch in range(3)]
    losses = [json.dumps({"epoch": epoch, "loss": [2.3, 2.2]}) for epoch in range(3)]
    texts = ("\n".join(rows).encode() + b"\n" for rows in (metrics, losses))
    seeds = [bytes([place]) + text for place, text in enumerate(texts)]
    return [seeds[0], *seeds]  # the metrics log oftener: it is what tables and curves are made of


def _read_log(raw: bytes, folder: Path) -> object:
    """As a run does that goes on, in turn with and without the checksum that newer checkpoints hold."""
    from tksbench.train.logs import EpochLogs

    name, content = chosen(raw, _LOGS)
    run_dir = RunDir(folder / "runs" / _runs()[0].id)
    path = write_file(run_dir.path, name, content)
    logs = EpochLogs(run_dir)
    try:
        shown = json.dumps(read_status(run_dir).to_json())
        if len(content) % 2:
            logs.check(3, {path.name: hashlib.sha256(_log_seeds()[0 if name == _LOGS[0] else 2][1:]).hexdigest()})
        logs.cut(2)
        return shown, read_jsonl(path)
    finally:
        path.unlink()


@functools.cache
def _checkpoint_seeds() -> list[bytes]:
    import torch

    from tksbench.train.checkpoint import State, save_checkpoint

    tensors = {"model/a": torch.arange(6.0).reshape(2, 3), "optimizer/0/step": torch.tensor(3.0)}
    with tempfile.TemporaryDirectory() as folder:
        state = State("run", 1, 2, [1.5], best={"epoch": 0, "top1": 50.0})
        whole = save_checkpoint(Path(folder), state, tensors).read_bytes()
    return [b"\0" + whole, b"\0" + whole, b"\1" + json.dumps(vars(state)).encode()]


def _mend_checkpoint(rng: random.Random, raw: bytes) -> bytes:
    """A state that was damaged before the checksum was made."""
    if raw[:1] != b"\1":
        return raw
    import torch
    from safetensors.torch import save

    from tksbench.train.checkpoint import digest

    tensors, words = {"model/a": torch.zeros(2)}, raw[1:].decode(errors="replace")
    check = hashlib.sha256((words + digest(tensors)).encode()).hexdigest()
    return b"\0" + save(tensors, metadata={"state": words, "sha256": check})


def _read_checkpoint(raw: bytes, folder: Path) -> object:
    from tksbench.train.checkpoint import read_checkpoint

    return read_checkpoint(write_file(folder, "epoch00001-step0000002.safetensors", raw[1:]), "run")


READERS = {
    reader.name: reader
    for reader in (
        Reader("aedat2", _aedat2_seeds, _read_recording(read_aedat2, ".aedat")),
        Reader("atis", _atis_seeds, _read_recording(read_atis, ".bin")),
        Reader("lists", lambda: [bytes([i]) + text for i, text in enumerate((*_CUB_TEXTS, _SUMS))], _read_list),
        Reader("mat", _mat_seeds, _read_mat),
        Reader("image", _image_seeds, _read_image, _mend_png),
        Reader("index", _index_seeds, _read_index, _mend_index),
        Reader("tar", _tar_seeds, _read_tar, _mend_tar),
        Reader("archive", _archive_seeds, _read_archive, _mend_archive),
        Reader("recipe", lambda: [RECIPE.encode()], _read_recipe),
        Reader("record", _record_seeds, _read_record),
        Reader("log", _log_seeds, _read_log),
        Reader("run", _run_seeds, _read_run),
        Reader("checkpoint", _checkpoint_seeds, _read_checkpoint, _mend_checkpoint),
        SYNSETS,
        *ARRAYS,
    )
}
