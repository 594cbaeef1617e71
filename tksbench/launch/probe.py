"""What runs cost that no record tells of, by training their first steps here."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.errors import TksbenchError
from tksbench.estimate.records import Costs
from tksbench.launch.forked import begin, forked
from tksbench.progress import working
from tksbench.runs import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection

    from tksbench.launch.plan import Item
    from tksbench.recipe import Run
    from tksbench.train.probe import Probe

_PATIENCE_S, _LIMIT_S = 30.0, 180.0  # a probe is content with less after the first, and given up after the second


def probe(
    items: Sequence[Item], past: Mapping[str, Costs], say: Callable[[str], None]
) -> tuple[dict[str, Costs], dict[str, str]]:
    """The costs of finished runs, and of those that are to be trained, one probe for each group that has none.

    Args:
        items: The plan; what is blocked or done is not probed.
        past: Costs of finished runs, by group.
        say: Called with a line for each probe, and with one for its result.

    Returns:
        Costs by group; why a probe has no figure, by group.
    """
    found, failed = dict(past), dict[str, str]()
    environment.remove_overriding()  # as for training
    to_do = {
        item.run.group: item.run for item in reversed(items) if item.action == "run" and item.run.group not in past
    }
    for number, (group, run) in enumerate(reversed(to_do.items()), 1):
        say(f"probe {number} of {len(to_do)}: {run.name}")
        with working("loading torch, then 20 steps"):
            result = _in_a_process(run)
        if isinstance(result, str):
            say(f"  no figure: {result}")
            failed[group] = result
            continue
        say(f"  {result.step_s:.3g} s a step on the {result.device.upper()}, median of {result.steps}")
        on_cpu = result.device == "cpu"
        found[group] = Costs(None if on_cpu else result.hours, result.hours if on_cpu else None, source="probe")
    return found, failed


def failures(items: Sequence[Item], failed: Mapping[str, str]) -> list[str]:
    """What a plan has to say of probes without a figure, a line for each."""
    names = {item.run.group: item.run.name for item in reversed(items) if item.run.group in failed}
    return [f"{names[group]}: its probe failed, so its time is no measurement ({failed[group]})" for group in names]


def _in_a_process(run: Run) -> Probe | str:
    """A run's probe, or why there is none; in a process of its own, because memory may not suffice."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = forked(_measure, run, sender)  # no daemon: those may not start data workers
    sender.close()
    try:
        if receiver.poll(_LIMIT_S):
            result: Probe | str = receiver.recv()
            return result
        return f"not even three steps within {_LIMIT_S:.0f} s"
    except EOFError:
        process.join()
        return f"its process ended with status {process.exitcode} (out of memory?)"
    finally:
        assert process.pid is not None  # noqa: S101 - it has been started
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its data workers too
        process.kill()  # should it not have a session of its own yet
        process.join()


def _measure(run: Run, sender: Connection) -> None:
    """What the process does."""
    begin()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this is what may go
    from tksbench.train.probe import measure

    try:
        sender.send(measure(run, _PATIENCE_S))
    except TksbenchError as error:
        sender.send(str(error))
    except Exception as error:  # whatever it is, the run would meet it too
        sender.send(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
