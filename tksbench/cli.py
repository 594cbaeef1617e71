"""The `tksbench` command: hands each subcommand to the module that owns it.

The modules are imported late, so that `tksbench launch --plan` never pays for torch or pandas.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from tksbench.errors import TksbenchError, suggest
from tksbench.exits import BAD_INPUT, INTERRUPTED
from tksbench.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    CommandMain = Callable[[list[str] | None], int]

COMMANDS = {
    "launch": ("tksbench.launch.__main__", "train what a recipe asks for and is not trained yet"),
    "tables": ("tksbench.tables", "tables, figures and verdicts from the logged runs"),
    "diff": ("tksbench.diff", "two runs side by side, and the first step at which they part"),
    "rerun": ("tksbench.rerun", "train a record's run once more, and compare to the bit"),
    "report": ("tksbench.report.__main__", "all of it as one web page that needs no network"),
    "doctor": ("tksbench.doctor.__main__", "whether this machine or cluster can train, and what to do if not"),
    "data": ("tksbench.data.__main__", "prepare or verify a data set, or write stand-in data for it"),
}


class CommandParser(argparse.ArgumentParser):
    """A command's arguments; a mistake in them is a `TksbenchError` like any other bad input.

    Args:
        prog: The command as the user types it.
        about: What it does, line breaks kept.
        epilog: Examples and exit statuses, line breaks kept.
    """

    def __init__(self, prog: str, about: str | None, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=about,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raises: TksbenchError: Always."""
        raise TksbenchError(f"{message} (see --help)")


def usage() -> str:
    """Returns the help text of `tksbench` itself."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tksbench [--help | --version] COMMAND [ARGUMENT ...]",
            "",
            "commands:",
            *lines,
            "",
            "`tksbench COMMAND --help` lists the options; `python -m tksbench.COMMAND` is the same command.",
            "",
        ]
    )


def run_command(command: CommandMain, argv: list[str] | None = None) -> int:
    """Runs a command's `main` and turns a user's mistake into one line and an exit status.

    Args:
        command: Takes the arguments (None: those of the process) and returns an exit status.
        argv: The arguments after the command's name.

    Returns:
        The command's own status; 2 for a `TksbenchError`; 130 for Ctrl-C.
    """
    try:
        return command(argv)
    except TksbenchError as error:
        sys.stderr.write(f"tksbench: error: {error}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("tksbench: interrupted\n")
        return INTERRUPTED


def run_script(command: CommandMain) -> NoReturn:
    """Runs a command as `python -m` does: with the process's arguments, leaving with its exit status."""
    for stream in (sys.stdout, sys.stderr):  # a path may be no text; some locales would have it stop the command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run_command(command)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:  # `... --plan | head`: the reader has seen enough
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0  # rich turns a broken pipe into SystemExit(1)
    sys.exit(code)


def unknown_command(name: str) -> str:
    """Returns the message for a command that does not exist, with the nearest one that does."""
    return f"tksbench: error: unknown command {name!r}; {suggest(name, COMMANDS)}\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script.

    Args:
        argv: Arguments without the program's name; None reads those of the process.

    Returns:
        The exit status: 0 done, 1 a run failed, 2 bad input, 130 interrupted.
    """
    name, *rest = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    if name == "--version":
        sys.stdout.write(f"tksbench {__version__}\n")
        return 0
    if name not in COMMANDS:
        sys.stderr.write(unknown_command(name))
        return BAD_INPUT
    command: CommandMain = importlib.import_module(COMMANDS[name][0]).main
    return run_command(command, rest)


def script() -> NoReturn:
    """The console script, and `python -m tksbench`."""
    run_script(main)


if __name__ == "__main__":
    script()
