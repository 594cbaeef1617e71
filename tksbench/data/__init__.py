"""Data sets: readers of each original format, augmentation, `prepare`/`verify`, and stand-in data."""

from __future__ import annotations

from tksbench.data.dataset import DataSet, DatasetInfo, FileStatus
from tksbench.data.errors import DataError
from tksbench.data.registry import DATASETS, data_root, has_real, load

__all__ = ["DATASETS", "DataError", "DataSet", "DatasetInfo", "FileStatus", "data_root", "has_real", "load"]
