"""`python -m tksbench.tables`: see `tksbench.report.cli`."""

from __future__ import annotations

from tksbench.report.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
