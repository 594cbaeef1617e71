"""The logs of epochs, which checkpoints know by their checksums: a damaged row is noticed before a run goes on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tksbench.runs.files import append_jsonl, read_jsonl, write_jsonl
from tksbench.train.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.runs.paths import RunDir


class EpochLogs:
    """The metrics log and the losses log of a run, a row an epoch each.

    Args:
        run_dir: Where they are.
    """

    def __init__(self, run_dir: RunDir) -> None:
        self._paths = (run_dir.losses, run_dir.metrics)
        self._digests = {path.name: hashlib.sha256() for path in self._paths}

    def check(self, epoch: int, stated: dict[str, str]) -> None:
        """Make sure that the rows before an epoch are those that a checkpoint of it was written beside.

        Args:
            epoch: The checkpoint's epoch.
            stated: The checksums that it holds, by the log's name; none in checkpoints of earlier versions.

        Raises:
            CheckpointError: If a row is missing or other than it was.
        """
        for path in self._paths:
            found = _digest(_before(path, epoch)).hexdigest()
            if found != stated.get(path.name, found):
                raise CheckpointError(f"{path}: its rows of the first {epoch} epochs were altered or damaged")

    def cut(self, epoch: int) -> None:
        """Drop the rows from an epoch on: they are about to be written again.

        Raises:
            CheckpointError: If a row before it holds what no log does.
        """
        for path in self._paths:
            kept = _before(path, epoch)
            self._digests[path.name] = _digest(kept)
            if path.exists():
                try:
                    write_jsonl(path, kept)
                except ValueError as error:  # no number, or no text: nothing that `append` has written
                    raise CheckpointError(f"{path}: its rows were altered or damaged: {error}") from None

    def append(self, losses: dict[str, Any], metrics: dict[str, Any]) -> dict[str, str]:
        """Add a row to each log; returns the checksums of all rows until now, by the log's name."""
        for path, row in zip(self._paths, (losses, metrics), strict=True):
            append_jsonl(path, row)
            self._digests[path.name].update(_line(row))
        return {name: digest.hexdigest() for name, digest in self._digests.items()}


def _before(path: Path, epoch: int) -> list[dict[str, Any]]:
    return [row for row in read_jsonl(path) if isinstance(row.get("epoch"), int) and row["epoch"] < epoch]


def _digest(rows: list[dict[str, Any]]) -> hashlib._Hash:
    return hashlib.sha256(b"".join(map(_line, rows)))


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"  # damaged rows have sums too
