"""Pickles of arrays and plain containers, as CIFAR's files are.

A pickle is a program: whatever function it names is called. Only files whose checksum is the published one are read,
and only the functions that arrays are made with can be named in them.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from tksbench.data.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_GLOBALS = {  # as they were called when the files were pickled
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}; only arrays are allowed")
        return _GLOBALS[module, name]


def unpickle(raw: bytes, path: Path) -> dict[bytes, Any]:
    """Read one pickled dictionary of arrays, lists, numbers and byte strings.

    Args:
        raw: The file's content, already verified.
        path: Where it came from, for the message.

    Raises:
        DataError: The bytes are not such a pickle.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{path}: not a CIFAR pickle: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a CIFAR pickle: holds a {type(content).__name__}, not a dictionary")
    return content
