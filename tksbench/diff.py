"""`python -m tksbench.diff`: two runs side by side; see `tksbench.report.difference`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tksbench.cli import CommandParser
from tksbench.progress import working

if TYPE_CHECKING:
    from collections.abc import Sequence

_ABOUT = """\
Compare two runs: spec, versions, device, data, commit, metrics, the first step
at which the loss curves part, and whether the weights are equal."""
_EXAMPLES = """\
examples:
  python -m tksbench.diff 062e 12ac          ids, or what they begin with
  python -m tksbench.diff 062e ../elsewhere/records/062ee01857a5e143.json
  python -m tksbench.diff 062e /mnt/other/results/runs/062ee01857a5e143

exit status: 0 spec and results equal to the bit, 1 they are not, 2 bad input"""


def main(argv: list[str] | None = None) -> int:
    """Obey a command line.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        0 if spec and results are equal to the bit, 1 if not.

    Raises:
        TksbenchError: A run cannot be found or read.
    """
    first, second = _parse(sys.argv[1:] if argv is None else argv)
    with working("comparing"):
        from tksbench.report.difference import compare, find_side
        from tksbench.runs import Ledger

        ledger = Ledger()
        text, equal = compare(find_side(ledger, first), find_side(ledger, second))
    sys.stdout.write(text)
    return 0 if equal else 1


def _parse(words: Sequence[str]) -> tuple[str, str]:
    parser = CommandParser("python -m tksbench.diff", _ABOUT, _EXAMPLES)
    meaning = "what a run's id begins with, a record, or a run's folder"
    parser.add_argument("runs", nargs=2, metavar="RUN", help=meaning)
    first, second = parser.parse_args(words).runs
    return str(first), str(second)


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
