"""What a command is at while it has nothing to show yet: a moving line on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a line with a spinner and the seconds so far on standard error as long as the block runs.

    The line goes away at the block's end. What the block writes to standard error appears above it; it may write
    nothing to standard output. In pipes, log files and batch jobs nothing is shown.

    Args:
        text: What is being done, for example "reading records".
    """
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    if console.is_dumb_terminal:  # it cannot take a line back
        console.print(text, markup=False)
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    # Standard output is left alone: it may be a pipe, and then what is written there must not end on the terminal.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        progress.add_task(text, total=None)
        yield
