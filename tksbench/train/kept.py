"""Features of many samples, computed in blocks that are kept: an attempt that was broken off goes on after them."""

from __future__ import annotations

import io
import shutil
import time
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from tksbench.runs.arrays import read_arrays
from tksbench.runs.errors import LedgerError
from tksbench.runs.files import write_bytes
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

BLOCK = 64  # samples: what an interruption costs at most
_CSR = ("data", "indices", "indptr", "shape")
_SECONDS = "seconds spent"


class Blocks:
    """Computes the features of a half block by block.

    Args:
        folder: Where blocks are kept.
        sparse: Whether most features are 0: they are kept and returned as a sparse matrix.
        guard: Called before anything is written.

    Attributes:
        earlier_seconds: Seconds that earlier attempts have spent on what was found.
    """

    def __init__(self, folder: Path, *, sparse: bool, guard: Callable[[], None]) -> None:
        self._folder, self._sparse, self._guard = folder, sparse, guard
        self.earlier_seconds = 0.0

    def of(self, half: str, count: int, features: Callable[[int], Any], after: Callable[[int], None]) -> Any:
        """All features of a half.

        Args:
            half: Its name.
            count: Its number of samples N.
            features: Gives those of the sample of an index, [F].
            after: Called with the number of samples that are done; may raise to stop.

        Returns:
            [N, F], float32; a `scipy.sparse.csr_array` if they are sparse.

        Raises:
            TrainError: The features of a sample are no list of finite numbers, or not as many as of others.
        """
        found: Any = None
        parts: list[Any] = []
        width: int | None = None
        for first in range(0, count, BLOCK):
            last = min(first + BLOCK, count)
            path = self._folder / f"{half}-{first:07d}.npz"
            began = time.monotonic()
            block = self._read(path, last - first)
            if block is None:
                block = self._computed(range(first, last), features, after)
                self._write(path, block, time.monotonic() - began)
            else:
                after(last)
            if block.shape[1] != (width := width or block.shape[1]):
                raise TrainError(f"sample {first} has {block.shape[1]} features, those before it {width}")
            if self._sparse:
                parts.append(block)
                continue
            found = np.empty((count, width), np.float32) if found is None else found
            found[first:last] = block
        return sparse.vstack(parts, format="csr") if self._sparse else found

    def clear(self) -> None:
        """Remove what is kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def learned(self, fit: Callable[[], Mapping[str, NDArray[Any]] | None]) -> dict[str, NDArray[Any]]:
        """What features have learned from the training half: as it is kept, or by `fit`, and then it is.

        Where `fit` returns None it has learned what cannot be kept, and blocks of earlier attempts are of no use.

        Raises:
            LedgerError: It cannot be written.
        """
        path = self._folder / "learned.npz"
        kept = self._archive(path)
        if kept is None:
            began = time.monotonic()
            learned = fit()
            self.clear()  # blocks of what was learned otherwise
            if learned is None:
                return {}
            kept = dict(learned)
            self._save(path, kept, time.monotonic() - began)
        return kept

    def _computed(self, indices: range, features: Callable[[int], Any], after: Callable[[int], None]) -> Any:
        rows: list[NDArray[np.float32]] = []
        for index in indices:
            row = np.asarray(features(index))
            what = (
                "" if row.ndim == 1 and row.dtype.kind in "biuf" else f"of shape {list(row.shape)} and type {row.dtype}"
            )
            if what or not np.isfinite(row).all():
                what = what or "not finite"
                raise TrainError(f"the features of sample {index} are {what}: expected a list of finite numbers")
            if rows and len(row) != len(rows[0]):
                raise TrainError(f"sample {index} has {len(row)} features, those before it {len(rows[0])}")
            rows.append(row.astype(np.float32))
            after(index + 1)
        block = np.stack(rows)
        return sparse.csr_array(block) if self._sparse else block

    def _write(self, path: Path, block: Any, seconds: float) -> None:
        parts = {key: np.asarray(getattr(block, key)) for key in _CSR} if self._sparse else {"block": block}
        self._save(path, parts, seconds)

    def _read(self, path: Path, count: int) -> Any:
        """A block that is kept; None if there is none, or a damaged one."""
        kept = self._archive(path)
        try:
            if kept is None or (kept["shape"] if self._sparse else kept["block"].shape)[0] != count:
                return None
            if not self._sparse:
                return kept["block"]
            return sparse.csr_array((kept["data"], kept["indices"], kept["indptr"]), shape=tuple(kept["shape"]))
        except (KeyError, IndexError, ValueError):
            return None

    def _save(self, path: Path, arrays: Mapping[str, NDArray[Any]], seconds: float) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **{**arrays, _SECONDS: np.float64(seconds)})  # type: ignore[arg-type]
        self._guard()
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue())

    def _archive(self, path: Path) -> dict[str, NDArray[Any]] | None:
        """What is kept in a file; None if there is none, or a damaged one."""
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
            found = dict(zip(names, read_arrays(path, names), strict=True))
            self.earlier_seconds += float(found.pop(_SECONDS))
            return found
        except (OSError, zipfile.BadZipFile, LedgerError, KeyError):
            return None
