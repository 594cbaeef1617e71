"""Half an event set as its recordings, for what reads events and not frames."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tksbench.data.base import Split
from tksbench.data.errors import DataError
from tksbench.data.events import EventFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tksbench.data.base import Batch, Key
    from tksbench.data.framing import Events
    from tksbench.recipe import DataSpec


class RecordingSplit(Split):
    """Recordings of one half, read when they are asked for.

    Attributes:
        plane: Height and width of the plane that the events of all recordings lie on.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: NDArray[np.int64],
        read: Callable[[Path], Events],
        plane: tuple[int, int],
    ) -> None:
        """Read nothing yet.

        Args:
            files: Where each recording is [N].
            labels: Class of each recording, int64 [N].
            read: Reads one.
            plane: Height and width.
        """
        self.files, self.labels, self.plane, self._read = tuple(files), labels, plane, read

    def recording(self, index: int) -> Events:
        """Read a recording.

        Raises:
            EventFileError: It is malformed, or its events lie off the plane.
        """
        path = self.files[index]
        events = self._read(path)
        if events.height > self.plane[0] or events.width > self.plane[1]:
            span, plane = f"{events.height} rows by {events.width} columns", f"{self.plane[0]} by {self.plane[1]}"
            raise EventFileError(f"{path}: its events span {span}, more than the {plane} of the data set")
        return events

    def sources(self) -> str:
        """The SHA-256 (hexadecimal) of all recordings in their order, as `frame_cache.sources_of` has it."""
        total = hashlib.sha256()
        for path in self.files:
            try:
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        return total.hexdigest()

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Recordings make no batch.

        Raises:
            DataError: Always.
        """
        raise DataError("recordings that are not framed make no batch; ask for recording(index)")


def check_unframed(spec: DataSpec) -> None:
    """Refuse what recordings that are not framed do not have.

    Raises:
        DataError: The spec asks for it.
    """
    for key, asked in spec.of_frames():
        raise DataError(f"data.{key}={asked} is for frames, and this run reads the recordings as they are")
