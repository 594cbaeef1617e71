"""The launcher's error."""

from __future__ import annotations

from tksbench.errors import TksbenchError


class LaunchError(TksbenchError):
    """A command line that cannot be obeyed."""
