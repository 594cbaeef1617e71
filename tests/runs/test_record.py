from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tksbench.runs import RecordError
from tksbench.runs.record import (
    correct_bits,
    is_attempt,
    load_record,
    make_record,
    pack_correct,
    save_record,
    unpack_correct,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tksbench.recipe import Run
    from tksbench.runs.record import Record


def _with(record: Record, path: str, value: Any) -> bytes:
    """The record's file with one value replaced, and without the seal, as whoever means to deceive would."""
    plain = json.loads(record.to_bytes())
    del plain["seal"]
    *folders, last = path.split(".")
    part = plain
    for key in folders:
        part = part[key]
    part[last] = value
    return json.dumps(plain).encode()


def test_a_record_comes_back_as_it_was(tmp_path: Path, record: Record) -> None:
    path = tmp_path / f"{record.id}.json"
    save_record(path, record)
    assert load_record(path) == record
    assert path.read_bytes() == load_record(path).to_bytes()


def test_the_file_names_its_schema(record: Record) -> None:
    assert json.loads(record.to_bytes())["schema"] == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 2, "schema"),
        ("seed", 43, "seed is 43, but the spec says 42"),
        ("id", "0" * 16, "the spec hashes to"),
        ("spec.optim.lr", 0.5, "the spec hashes to"),
        ("metrics.last.top1", 101.0, "metrics.last.top1"),
        ("metrics.last.surprise", 1, "metrics.last.surprise"),
        ("test.n", 9, "holds 8 bits for 9 samples"),
        ("test.correct_best", "%%%%", "not base64"),
        ("weights_sha256", "abc", "weights_sha256"),
    ],
)
def test_an_altered_record_is_refused(tmp_path: Path, record: Record, path: str, value: Any, message: str) -> None:
    file = tmp_path / f"{record.id}.json"
    file.write_bytes(_with(record, path, value))
    with pytest.raises(RecordError, match=message) as error:
        load_record(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("place", ["provenance", "attempts"])
def test_what_a_later_version_says_of_the_origin_is_kept(tmp_path: Path, record: Record, place: str) -> None:
    file = tmp_path / f"{record.id}.json"
    plain = json.loads(_with(record, "seed", record.seed))
    part = plain["provenance"] if place == "provenance" else plain["attempts"][0]
    part["surprise"] = {"deep": 1}
    file.write_text(json.dumps(plain))
    kept = json.loads(load_record(file).to_bytes())
    assert (kept["provenance"] if place == "provenance" else kept["attempts"][0])["surprise"] == {"deep": 1}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_record_is_refused(tmp_path: Path, record: Record, share: float) -> None:
    file = tmp_path / f"{record.id}.json"
    content = record.to_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RecordError, match="not a record"):
        load_record(file)


def test_a_record_under_another_runs_name_is_refused(tmp_path: Path, record: Record) -> None:
    save_record(tmp_path / "ffffffffffffffff.json", record)
    with pytest.raises(RecordError, match=f"is the record of run {record.id}"):
        load_record(tmp_path / "ffffffffffffffff.json")


def test_nan_makes_no_record(run: Run, parts: Callable[[Run], dict[str, Any]]) -> None:
    broken = parts(run)
    broken["metrics"]["last"] = {**broken["metrics"]["last"], "loss": float("nan")}
    with pytest.raises(RecordError, match=r"metrics\.last\.loss"):
        make_record(**broken)


def test_a_pipe_or_a_link_to_a_device_is_refused_unread(tmp_path: Path) -> None:
    pipe, device = tmp_path / "0123456789abcdef.json", tmp_path / "fedcba9876543210.json"
    os.mkfifo(pipe)
    device.symlink_to(os.devnull)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"",))  # without one, reading would never end
    writer.start()
    try:
        for path in (pipe, device):
            with pytest.raises(RecordError, match="a pipe or a device"):
                load_record(path)
    finally:
        both_ends = os.open(pipe, os.O_RDWR)  # lets the writer go, whether or not it waits yet
        writer.join()
        os.close(both_ends)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file"):
        load_record(tmp_path / "record.json")


@pytest.mark.parametrize("n", [1, 7, 8, 9, 1000])
def test_packed_predictions_are_numpys_packbits(n: int) -> None:
    import base64

    correct = np.random.default_rng(n).random(n) < 0.5
    assert base64.b64decode(pack_correct(correct.tolist())) == np.packbits(correct).tobytes()
    assert unpack_correct(pack_correct(correct.tolist()), n) == correct.tolist()


def test_a_flipped_digit_breaks_the_seal_and_a_record_without_one_is_read(record: Record, tmp_path: Path) -> None:
    path = tmp_path / f"{record.id}.json"
    save_record(path, record)
    sealed = path.read_bytes()
    path.write_bytes(sealed.replace(b'"top1": 50.0', b'"top1": 51.0', 1))
    with pytest.raises(RecordError, match="its checksum does not match"):
        load_record(path)
    path.write_text(json.dumps(json.loads(sealed)))  # a seal that is not where it was set is none
    with pytest.raises(RecordError, match="seal"):
        load_record(path)
    plain = json.loads(sealed)
    del plain["seal"]
    path.write_text(json.dumps(plain, indent=1))
    assert load_record(path) == record


def test_a_record_file_is_plain_utf8_with_one_value_a_line(record: Record) -> None:
    content = record.model_copy(update={"name": "µ/tks"}).to_bytes()
    assert content.startswith(b'{\n "schema": 1,\n "id": "')
    assert '\n "name": "µ/tks",\n'.encode() in content
    assert content.endswith(b'"\n}\n')


def test_a_record_with_nan_is_not_written(record: Record) -> None:
    broken = record.model_copy(update={"cost": record.cost.model_copy(update={"hours": float("nan")})})
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.to_bytes()


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"{record.id}.json"
    save_record(path, record)
    monkeypatch.setattr("tksbench.runs.record.MAX_BYTES", path.stat().st_size)
    assert load_record(path) == record
    monkeypatch.setattr("tksbench.runs.record.MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(RecordError, match=f"{path}: larger than .* bytes: not a record"):
        load_record(path)


def test_no_predictions_are_one_empty_text() -> None:
    assert pack_correct([]) == ""
    assert unpack_correct("", 0) == []


def test_predictions_as_one_number(record: Record) -> None:
    assert correct_bits(pack_correct([True, False, True])) == 0b10100000
    assert correct_bits(pack_correct([False] * 8 + [True])) == 0b0000000010000000


def test_text_that_is_not_base64_holds_no_predictions() -> None:
    with pytest.raises(ValueError, match=r"^correct: not base64$"):
        unpack_correct("%%%%", 24)


@pytest.mark.parametrize(("gone", "shown", "more"), [(1, 1, False), (5, 5, False), (6, 5, True), (8, 5, True)])
def test_the_first_five_problems_are_told(
    run: Run, parts: Callable[[Run], dict[str, Any]], gone: int, shown: int, more: bool
) -> None:
    broken = parts(run)
    for key in ("name", "recipe", "scale", "seed", "metrics", "test", "attempts", "cost")[:gone]:
        del broken[key]
    with pytest.raises(RecordError) as caught:
        make_record(**broken)
    told = str(caught.value).removeprefix("not a record: ").split("; ")
    assert told[:shown] == [
        f"{key}: Field required"
        for key in ("name", "recipe", "scale", "seed", "metrics", "test", "attempts", "cost")[:shown]
    ]
    assert told[shown:] == (["..."] if more else [])


def test_a_problem_of_the_whole_says_so(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("[]")
    with pytest.raises(RecordError, match=r"not a record: record: Input should be an object"):
        load_record(tmp_path / "record.json")


@pytest.mark.parametrize(
    ("row", "sound"),
    [
        ({"event": "start", "time": "t"}, True),
        ({"event": "stbrt", "time": "t"}, False),
        ({"event": "end"}, False),
        ({"event": "end", "time": "t", "surprise": 1}, True),  # of a later version
    ],
)
def test_a_damaged_row_is_no_attempt(row: dict[str, Any], sound: bool) -> None:
    assert is_attempt(row) is sound


def test_a_row_of_attempts_holds_what_it_says(run: Run, parts: Callable[[Run], dict[str, Any]]) -> None:
    given = parts(run)
    given["attempts"] = [
        {"event": "start", "time": "t", "dirty": False, "code": "1" * 16},
        {"event": "end", "time": "t"},
    ]
    first, second = make_record(**given).model_dump(mode="json")["attempts"]
    assert (first["dirty"], first["code"], "setup" in first) == (False, "1" * 16, False)
    assert not {"dirty", "code", "patch", "setup", "late"} & second.keys()


@pytest.mark.parametrize("value", [-1, float("inf"), True, "1", None])
def test_the_cost_of_an_inference_is_a_number(run: Run, parts: Callable[[Run], dict[str, Any]], value: Any) -> None:
    counted = {"spike_rate": 0.1, "macs": 1, "synops": 2.0, "energy_mj": 0}
    broken = parts(run)
    broken["cost"]["snn"] = counted
    assert make_record(**broken).cost.snn == counted
    broken["cost"]["snn"] = counted | {"synops": value}
    with pytest.raises(RecordError, match="synops is"):
        make_record(**broken)
