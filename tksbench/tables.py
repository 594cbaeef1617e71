"""`python -m tksbench.tables`: see `tksbench.report.cli`."""

from __future__ import annotations

import os
import sys

from tksbench.report.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    from tksbench.cli import run_command

    try:
        code = run_command(main)
        sys.stdout.flush()
    except BrokenPipeError:  # `... --why CELL | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
