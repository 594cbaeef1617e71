"""`python -m tksbench.data prepare|verify|stand-in|twin NAME... [--root DIR]`."""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table
from rich.text import Text

from tksbench.cli import CommandParser
from tksbench.data.errors import DataError
from tksbench.data.prepare import prepare
from tksbench.data.registry import DATASETS, data_root, elsewhere, ensure_miniature, info, reader
from tksbench.progress import working

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_STAND_IN = ("stand-in", "miniature")  # and its former name
_STYLES = {"ok": "green", "missing": "yellow", "surplus": "yellow", "unsorted": "yellow", "corrupt": "red"}


def _parser() -> argparse.ArgumentParser:
    names = textwrap.fill(f"NAME is one of {', '.join(DATASETS)}, or all.", 80)
    parser = CommandParser(
        "python -m tksbench.data", "Prepare or verify data sets, or write stand-in data for them.", names
    )
    parser.add_argument(
        "action",
        choices=("prepare", "verify", *_STAND_IN, "twin"),
        metavar="{prepare,verify,stand-in,twin}",
        help="prepare: unpack or download, or say what to fetch; verify: say what is there, missing or corrupt; "
        "stand-in: write a few handwritten digits in the original format, for smoke checks; twin: record the real "
        "CIFAR-10 images with a "
        "simulated event camera (dvs_cifar10 alone)",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="a data set, or all")
    parser.add_argument("--root", type=Path, help="data root (default: TKSBENCH_DATA, else ./data)")
    twin = parser.add_argument_group("of a twin (less than the default is quicker and smaller)")
    twin.add_argument("--train", type=int, default=900, metavar="N", help="training recordings a class (900)")
    twin.add_argument("--test", type=int, default=100, metavar="N", help="test recordings a class (100)")
    twin.add_argument("--loops", type=int, default=6, metavar="N", help="loops of 200 ms a recording (6)")
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
    table.add_column("state", no_wrap=True)
    table.add_column("file", overflow="fold")  # with what there is to say below, so that names, for copying, stay whole
    complete = True
    for name in names:
        shown = name
        with working(f"verifying {name}"):
            found = list(reader(name).verify(root))
            note = "" if all(status.state == "ok" for status in found) else elsewhere(name, root)
        for status in found:
            state = Text(status.state, style=_STYLES[status.state])
            detail = [Padding(Text(status.detail, style="dim"), (0, 0, 0, 2))] if status.detail else []
            table.add_row(shown, state, Group(Text(status.path), *detail))
            complete, shown = complete and status.state == "ok", ""
        if note:
            table.add_row("", "", Text(note))
    console.print(table)
    return 0 if complete else 1


def _prepare(names: list[str], root: Path, console: Console) -> int:
    complete = True
    for name in names:
        console.print(Text(f"{name}: looking in {root}"), soft_wrap=True)
        try:
            message = prepare(name, root)
        except DataError as error:
            complete, message = False, str(error)
        console.print(Text(f"{name}: {message}"), soft_wrap=True)  # a path stays whole
    return 0 if complete else 1


def _stand_in(names: list[str], root: Path, console: Console) -> int:
    for name in names:
        with working(f"making {name}"):
            folder = ensure_miniature(name, root) / info(name).folder
        console.print(Text(f"{name}: stand-in data in {folder}"), soft_wrap=True)
    return 0


def _twin(names: list[str], root: Path, console: Console, args: argparse.Namespace) -> int:
    from tksbench.data.twin_set import check_twin, make_twin

    if names != ["dvs_cifar10"]:
        raise DataError(f"{', '.join(names)}: only dvs_cifar10 has a twin")
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True) as bar:
        task = bar.add_task("recordings", total=None)
        home = make_twin(
            root,
            args.train,
            args.test,
            args.loops,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(Text(f"twin of {info(names[0]).title} in {home / info(names[0]).folder}"), soft_wrap=True)
    checks = check_twin(home)
    for check in checks:
        console.print(Text(f"  {'ok' if check.ok else 'NOT as the real set'}: {check.name}: {check.found}"))
    return 0 if all(check.ok for check in checks) else 1


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
    root = _root(args.root, writing=args.action != "verify")
    if args.action == "twin":
        return _twin(_names(args.names), root, Console(), args)
    run = {"verify": _verify, "prepare": _prepare, **dict.fromkeys(_STAND_IN, _stand_in)}[args.action]
    return run(_names(args.names), root, Console())


if __name__ == "__main__":
    from tksbench.cli import run_script

    run_script(main)
