"""`python -m tksbench.data prepare|verify|miniature NAME... [--root DIR]`."""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tksbench.cli import CommandParser
from tksbench.data.errors import DataError
from tksbench.data.prepare import prepare
from tksbench.data.registry import DATASETS, data_root, ensure_miniature, info, reader

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_STYLES = {"ok": "green", "missing": "yellow", "corrupt": "red"}


def _parser() -> argparse.ArgumentParser:
    names = textwrap.fill(f"NAME is one of {', '.join(DATASETS)}, or all.", 80)
    parser = CommandParser("python -m tksbench.data", "Prepare, verify, or make a miniature of data sets.", names)
    parser.add_argument(
        "action",
        choices=("prepare", "verify", "miniature"),
        help="prepare: unpack or download, or say what to fetch; verify: say what is there, missing or corrupt; "
        "miniature: write a small data set in the original format",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="a data set, or all")
    parser.add_argument("--root", type=Path, help="data root (default: TKSBENCH_DATA, else ./data)")
    return parser


def _names(given: Sequence[str]) -> list[str]:
    return list(DATASETS) if "all" in given else [info(name).name for name in dict.fromkeys(given)]


def _root(given: Path | None, writing: bool) -> Path:
    """The data root, checked for what the action is going to do with it."""
    root = given or data_root()
    if given is None and writing and not root.exists():
        try:
            root.mkdir()
        except OSError as error:
            raise DataError(f"{root}: cannot be created: {error.strerror}; name another with --root") from error
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; create it, or name another with --root or TKSBENCH_DATA")
    if writing:
        try:
            tempfile.TemporaryFile(dir=root).close()
        except OSError as error:
            raise DataError(f"{root}: not writable ({error.strerror}); name another with --root") from error
    return root


def _verify(names: list[str], root: Path, console: Console) -> int:
    table = Table(box=box.SIMPLE, title=f"Data in {root}", title_justify="left")
    table.add_column("data set", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("detail", overflow="fold")
    complete = True
    for name in names:
        shown = name
        for status in reader(name).verify(name, root):
            state = Text(status.state, style=_STYLES[status.state])
            table.add_row(shown, Text(status.path), state, Text(status.detail))
            complete, shown = complete and status.state == "ok", ""
    console.print(table)
    return 0 if complete else 1


def _prepare(names: list[str], root: Path, console: Console) -> int:
    complete = True
    for name in names:
        try:
            message = prepare(name, root)
        except DataError as error:
            complete, message = False, str(error)
        console.print(Text(f"{name}: {message}"))
    return 0 if complete else 1


def _miniature(names: list[str], root: Path, console: Console) -> int:
    for name in names:
        folder = ensure_miniature(name, root) / info(name).folder
        console.print(Text(f"{name}: miniature in {folder}"), soft_wrap=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments after the command's name; None reads those of the process.

    Returns:
        0 if all is complete or done, 1 if something is missing or corrupt.

    Raises:
        TksbenchError: For anything that the user can put right.
    """
    args = _parser().parse_args(argv)
    run = {"verify": _verify, "prepare": _prepare, "miniature": _miniature}[args.action]
    root = _root(args.root, writing=args.action != "verify")
    return run(_names(args.names), root, Console())


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
