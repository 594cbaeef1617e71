from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from tksbench.atomic import sync_folder
from tksbench.runs import (
    LedgerError,
    append_jsonl,
    read_json,
    read_jsonl,
    remove_temporaries,
    sha256_file,
    write_bytes,
    write_json,
    write_jsonl,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    obj = {"b": [1, 2.5, None, True], "a": "µ"}
    write_json(tmp_path / "x.json", obj)
    assert read_json(tmp_path / "x.json") == obj


def test_writing_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x", b"1")
    write_bytes(tmp_path / "x", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"2"


def test_a_failed_write_keeps_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "x", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LedgerError, match="x: cannot be written: No space left on device"):
        write_bytes(tmp_path / "x", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_file_system_that_turns_read_only_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("open", "unlink"):  # which then does not let a half-written file be removed either
        monkeypatch.setattr(type(tmp_path), name, refuse)
    with pytest.raises(LedgerError, match=r"a\.json: cannot be written: Read-only file system$"):
        write_json(tmp_path / "a.json", {})


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="nowhere/x"):
        write_bytes(tmp_path / "nowhere" / "x", b"")


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x", {"loss": float("nan")})
    assert not (tmp_path / "x").exists()


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(LedgerError, match=r"x\.json: cannot be read: not JSON"):
        read_json(tmp_path / "x.json")


def test_a_log_grows_row_by_row(tmp_path: Path) -> None:
    for epoch in range(3):
        append_jsonl(tmp_path / "log", {"epoch": epoch})
    assert read_jsonl(tmp_path / "log") == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]


def test_a_cut_last_line_is_passed_over_and_stays_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"epoch": 0}\n{"epo')
    assert read_jsonl(log) == [{"epoch": 0}]
    append_jsonl(log, {"epoch": 1})
    assert read_jsonl(log) == [{"epoch": 0}, {"epoch": 1}]


def test_an_absent_log_has_no_rows(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "log") == []


def test_a_log_can_be_replaced(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "log", {"epoch": 9})
    write_jsonl(tmp_path / "log", [{"epoch": 0}])
    assert (tmp_path / "log").read_bytes() == b'{"epoch": 0}\n'


def test_leftovers_of_killed_writers_are_removed_everywhere_below(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".a.safetensors.0123456789ab.tmp").touch()
    (tmp_path / "record.json").touch()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["checkpoints", "record.json"]


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_json_is_indented_for_people_and_keeps_their_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "x", {"b": 1, "a": "µ"})
    assert (tmp_path / "x").read_bytes() == '{\n "b": 1,\n "a": "µ"\n}\n'.encode()


@pytest.mark.parametrize("durable", [True, False])
def test_only_what_must_last_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    waits: list[int] = []
    monkeypatch.setattr("os.fsync", waits.append)
    write_json(tmp_path / "x", {}, durable=durable)
    assert len(waits) == (2 if durable else 0)  # the file, and its name in the folder


def test_json_waits_for_the_disk_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr("os.fsync", waits.append)
    write_json(tmp_path / "x", {})
    assert len(waits) == 2


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"x\.json: cannot be read: No such file or directory"):
        read_json(tmp_path / "x.json")


def test_a_row_is_a_line_in_its_own_letters(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "log", {"a": "µ"})
    append_jsonl(tmp_path / "log", {"a": 1})
    assert (tmp_path / "log").read_bytes() == '{"a": "µ"}\n{"a": 1}\n'.encode()


@pytest.mark.parametrize("write", [append_jsonl, lambda path, row: write_jsonl(path, [row])])
def test_a_log_takes_finite_numbers_alone(tmp_path: Path, write: Callable[[Path, dict[str, float]], None]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path / "log", {"loss": float("inf")})
    assert not (tmp_path / "log").exists() or (tmp_path / "log").read_bytes() == b""


def test_a_replaced_log_has_a_line_a_row(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "log", [{"a": "µ"}, {"a": 1}])
    assert (tmp_path / "log").read_bytes() == '{"a": "µ"}\n{"a": 1}\n'.encode()


def test_a_log_that_cannot_be_written_or_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=f"{tmp_path}: cannot be written: Is a directory"):
        append_jsonl(tmp_path, {})
    with pytest.raises(LedgerError, match=f"{tmp_path}: cannot be read: Is a directory"):
        read_jsonl(tmp_path)


@pytest.mark.parametrize("line", [b"[1]", b"3", b'{"a": ', b"[" * 100_000, b"\xff"])
def test_what_is_no_row_is_passed_over(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "log").write_bytes(line + b'\n{"a": 1}\n')
    assert read_jsonl(tmp_path / "log") == [{"a": 1}]


def test_a_folder_that_is_gone_need_not_be_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path / "gone")


def test_a_file_is_no_folder_to_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    waits: list[int] = []
    monkeypatch.setattr("os.fsync", waits.append)
    sync_folder(tmp_path / "file")
    assert waits == []
