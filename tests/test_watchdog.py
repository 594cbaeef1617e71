"""What tests start ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import watchdog

TESTS = """\
import os, subprocess, sys, time
from tests import watchdog

watchdog.start()
quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
daemon = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
subprocess.Popen(["nohup", *daemon], start_new_session=True, **quiet)
print(os.environ[watchdog.MARK], flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_what_tests_started_ends_with_them(how: str) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", TESTS],
        env=watchdog.unmarked() | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tests.stdin is not None
    assert tests.stdout is not None
    mark = tests.stdout.readline().strip()
    deadline = time.monotonic() + 60
    while not watchdog.marked(mark):  # while a process loads another program, its environment reads as empty
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if how == "kill":
        tests.kill()
    else:
        tests.stdin.close()
    tests.wait()
    deadline = time.monotonic() + 60
    while watchdog.marked(mark):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_these_tests_are_watched() -> None:
    mark = os.environ[watchdog.MARK]
    watching = subprocess.run(["pgrep", "-f", f"watchdog.py [0-9]+ {mark}"], capture_output=True, text=True, check=True)
    assert len(watching.stdout.split()) == 1
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
