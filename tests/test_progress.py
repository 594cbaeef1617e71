"""What a terminal shows while a command has nothing to show yet, and what a pipe does not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import sys
from tksbench.progress import working
with working("reading [records]"):
    sys.stderr.write("a warning\\n")
sys.stdout.write("the answer\\n")
"""


def on_a_terminal(code: str, term: str = "xterm") -> tuple[str, str]:
    """Standard output, which is a pipe, and what a terminal gets as standard error."""
    main_end, other_end = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": term, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=other_end, env=environment, check=True, timeout=60
    )
    os.close(other_end)
    shown = b""
    while True:
        try:
            part = os.read(main_end, 65536)
        except OSError:  # all is read and nobody has the other end
            break
        if not part:
            break
        shown += part
    os.close(main_end)
    return done.stdout.decode(), shown.decode()


def test_a_terminal_shows_what_is_being_done_and_the_answer_is_left_alone() -> None:
    out, shown = on_a_terminal(CODE)
    assert out == "the answer\n"
    assert "reading [records]" in shown
    assert "a warning" in shown


def test_a_terminal_that_cannot_take_a_line_back_gets_one_plain_line() -> None:
    assert on_a_terminal(CODE, term="dumb") == ("the answer\n", "reading [records]\r\na warning\r\n")


def test_a_pipe_gets_nothing() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("the answer\n", "a warning\n")


@pytest.mark.parametrize(
    "command",
    [
        ["launch", "recipes/cifar10.yaml", "--scale", "smoke", "--plan"],
        ["tables", "--why", "table1/cifar10/resnet19/tks"],
        ["diff", "d5df", "cb78"],
        ["data", "verify", "cifar10", "--root", "recipes"],
    ],
    ids=" ".join,
)
def test_every_command_says_at_once_what_it_is_doing(command: list[str]) -> None:
    """Standard error begins before standard output does, and names the work."""
    code = f"import os, sys; os.chdir({str(ROOT)!r}); from tksbench.cli import main; main({command!r})"
    _, shown = on_a_terminal(code)
    assert any(word in shown for word in ("reading", "comparing", "verifying")), shown
