"""The data room's exception."""

from __future__ import annotations

from tksbench.errors import TksbenchError


class DataError(TksbenchError):
    """A data set is missing, corrupt, or asked for wrongly: the message says which file and what would do."""
