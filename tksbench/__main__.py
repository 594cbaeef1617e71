"""`python -m tksbench COMMAND`: see `tksbench.cli`."""

from __future__ import annotations

from tksbench.cli import script

if __name__ == "__main__":
    script()
