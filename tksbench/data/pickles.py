"""Pickles of arrays and plain containers, read by a machine that knows nothing else.

A pickle is a program. Refusing the functions that it names is not enough: an array's own constructor allocates
whatever it is told to, the C reader trusts lengths and memo places (60 bytes can ask for gigabytes), and tuples
within tuples take exponential time to be used as a key. So only the instructions that the CIFAR files are made of
are known here, they run in Python's own reader, and an array is made of the bytes that are really there.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from tksbench.data.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

# All that the published files and the miniatures hold: protocol 2 as Python 2 wrote it.
_OPCODES = b"".join(
    (
        pickle.PROTO + pickle.STOP + pickle.MARK + pickle.NONE + pickle.NEWTRUE + pickle.NEWFALSE,
        pickle.BININT + pickle.BININT1 + pickle.BININT2 + pickle.BINSTRING + pickle.SHORT_BINSTRING,
        pickle.EMPTY_DICT + pickle.SETITEM + pickle.SETITEMS + pickle.EMPTY_LIST + pickle.APPEND + pickle.APPENDS,
        pickle.EMPTY_TUPLE + pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3,
        pickle.BINPUT + pickle.LONG_BINPUT + pickle.BINGET + pickle.LONG_BINGET,
        pickle.GLOBAL + pickle.REDUCE + pickle.BUILD,
    )
)
_ARRAY = ("numpy.core.multiarray", "_reconstruct")  # NumPy's internals when the files were pickled
_DTYPE = ("numpy", "dtype")
_GLOBALS = {_ARRAY, ("numpy", "ndarray"), _DTYPE}


class _Stored:
    """What a pickle makes by a call, and the state that it gives to it: nothing of NumPy runs yet."""

    def __init__(self, kind: tuple[str, str], arguments: tuple[Any, ...]) -> None:
        self.kind, self.arguments, self.state = kind, arguments, cast("tuple[Any, ...]", ())

    def array(self) -> NDArray[np.uint8]:
        """The array, if this is one of bytes in C order: state (1, shape, dtype, is_fortran, bytes)."""
        _, shape, kind, fortran, raw = self.state
        sound = self.kind == _ARRAY and not fortran and isinstance(kind, _Stored) and kind.kind == _DTYPE
        if not (sound and kind.arguments[0] in (b"u1", b"|u1") and isinstance(raw, bytes)):
            raise pickle.UnpicklingError("holds an array of anything but bytes")
        return np.frombuffer(raw, np.uint8).reshape(shape)  # no copy: many names may share the bytes


class _ArrayUnpickler(pickle._Unpickler):
    """The known instructions; where an instruction may be given anything, it is looked at first."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {code: pickle._Unpickler.dispatch[code] for code in _OPCODES}

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> Any:
        """Name a global without touching it."""
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}; only arrays are allowed")
        return module, name

    def _call(self) -> None:
        arguments = self.stack.pop()
        kind = self.stack[-1]
        if kind not in (_ARRAY, _DTYPE) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("calls something")
        self.stack[-1] = _Stored(kind, arguments)

    def _give_state(self) -> None:
        state = self.stack.pop()
        stored = self.stack[-1]
        if not (isinstance(stored, _Stored) and isinstance(state, tuple)):
            raise pickle.UnpicklingError("changes something that is no array")
        stored.state = state

    def _set(self, items: list[Any]) -> None:
        content = self.stack[-1]
        if not isinstance(content, dict) or not all(isinstance(key, bytes) for key in items[::2]):
            raise pickle.UnpicklingError("holds a key that is no text")
        content.update(zip(items[::2], items[1::2], strict=True))

    def _set_item(self) -> None:
        self._set([self.stack.pop(-2), self.stack.pop()])

    def _set_items(self) -> None:
        self._set(self.pop_mark())

    dispatch |= {
        pickle.REDUCE[0]: _call,
        pickle.BUILD[0]: _give_state,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
    }


def unpickle(raw: bytes, path: Path) -> dict[bytes, Any]:
    """Read one pickled dictionary of arrays of bytes, lists, numbers and byte strings.

    Args:
        raw: The file's content.
        path: Where it came from, for the message.

    Raises:
        DataError: The bytes are not such a pickle.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
        if isinstance(content, dict):
            return {key: value.array() if isinstance(value, _Stored) else value for key, value in content.items()}
    except KeyError as error:
        raise DataError(f"{path}: not a CIFAR pickle: unknown instruction or place {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{path}: not a CIFAR pickle: {error}") from error
    raise DataError(f"{path}: not a CIFAR pickle: holds a {type(content).__name__}, not a dictionary")
