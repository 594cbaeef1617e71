"""Files that are either whole or absent, and logs that survive a cut last line."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Any

from tksbench.atomic import TEMPORARY, replacing
from tksbench.runs.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, never a part.

    Args:
        path: The file; its folder must exist.
        data: The whole content.
        durable: Wait until the disk has it. Off for files that only serve a live view.

    Raises:
        LedgerError: If the folder cannot be written or the disk is full.
    """
    try:
        with replacing(path, durable=durable) as file:
            file.write(data)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be written: {error.strerror}") from error


def write_json(path: Path, obj: Any, *, durable: bool = True) -> None:
    """Write JSON as `write_bytes` does: UTF-8, indented, keys in the order given, no NaN.

    Raises:
        LedgerError: As `write_bytes`.
        ValueError: If a number is not finite.
    """
    text = json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n", durable=durable)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        LedgerError: If it is absent, unreadable or not JSON.
    """
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # a pipe would wait for ever; a folder names itself
            raise LedgerError(f"{path}: cannot be read: a pipe or a device")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else f"not JSON ({error})"
        raise LedgerError(f"{path}: cannot be read: {what}") from None


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row, durably; a last line that a crash has cut is closed first so that it stays alone.

    Raises:
        LedgerError: If the file cannot be written.
        ValueError: If a number is not finite.
    """
    line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    try:
        with path.open("ab+") as file:
            if file.tell() and _last_byte(file.fileno()) != b"\n":
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LedgerError(f"{path}: cannot be written: {error.strerror}") from error


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a whole log, for instance by the part of it that the last checkpoint has seen.

    Raises:
        LedgerError: As `write_bytes`.
        ValueError: If a number is not finite.
    """
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a log, oldest first; an absent file has none, and lines that a crash has cut are passed over.

    Raises:
        LedgerError: If the file exists but cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed `write_bytes` left behind; only the holder of the folder's lease may call this."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last_byte(descriptor: int) -> bytes:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)
