"""`python -m tksbench.report`: one self-contained web page of all tables, figures and runs."""

from __future__ import annotations

import sys

from tksbench.cli import CommandParser

_ABOUT = """\
Write results/report.html: all tables, figures and runs on one page that needs
no network."""
_EXAMPLES = """\
examples:
  python -m tksbench.report
  python -m tksbench.tables --format md,tex,html   the same, and the table files

Tables and figures on the page show published records and this machine's own
finished runs.

exit status: 0 done, 2 bad input"""


def main(argv: list[str] | None = None) -> int:
    """Obey a command line.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        The exit status.

    Raises:
        TksbenchError: For anything that the user can put right; nothing has been written then.
    """
    CommandParser("python -m tksbench.report", _ABOUT, _EXAMPLES).parse_args(sys.argv[1:] if argv is None else argv)
    from tksbench.report.cli import main as tables

    return tables(["--format", "html"])


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
