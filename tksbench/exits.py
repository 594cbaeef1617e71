"""Exit statuses: of the commands, and of the process that trains a run."""

from __future__ import annotations

import signal

DONE, FAILED, BAD_INPUT = 0, 1, 2
INTERRUPTED = 130  # a command that Ctrl-C ended: 128 + SIGINT, as a shell reports it
SAVED, HELD = 3, 4  # a trainer that saved and left when it was asked to; one that found another's lease
KILLED = 128  # a shell, and srun, report a signal as 128 and its number


def explain(code: int, last_line: str) -> str:
    """What the exit status of a process without a record means; negative for a signal, as `subprocess` has it.

    >>> explain(-9, "")
    'killed by SIGKILL (out of memory?)'
    """
    number = -code if code < 0 else code - KILLED
    if number in set(signal.Signals):
        return f"killed by {signal.Signals(number).name}" + " (out of memory?)" * (number == signal.SIGKILL)
    if code < 0:
        return f"killed by signal {number}"  # real-time signals have no names
    return f"ended with status {code}: {last_line or 'its log is empty'}" if code else "ended without a record"
