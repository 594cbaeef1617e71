"""What runs cost that no record tells of, by training their first steps here."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from typing import TYPE_CHECKING

from tksbench.errors import TksbenchError
from tksbench.launch.past import Past
from tksbench.progress import working
from tksbench.runs import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection

    from tksbench.launch.plan import Item
    from tksbench.recipe import Run
    from tksbench.train.probe import Probe

_PATIENCE_S, _LIMIT_S = 30.0, 180.0  # a probe is content with less after the first, and given up after the second
_PRELOADED = ("tksbench.train.loop", "tksbench.train.probe")


def probe(items: Sequence[Item], past: Mapping[str, Past], say: Callable[[str], None]) -> dict[str, Past]:
    """The costs of finished runs, and of those that are to be trained, one probe for each group that has none.

    Args:
        items: The plan; what is blocked or done is not probed.
        past: Costs of finished runs, by group.
        say: Told of each probe, a line each.
    """
    found = dict(past)
    environment.remove_overriding()  # as for training
    to_do = {
        item.run.group: item.run for item in reversed(items) if item.action == "run" and item.run.group not in past
    }
    for number, (group, run) in enumerate(reversed(to_do.items()), 1):
        say(f"probe {number} of {len(to_do)}: {run.name}")
        with working("loading torch, then 20 steps"):
            told = _in_a_process(run)
        if isinstance(told, str):
            say(f"  no figure: {told}")
            continue
        say(f"  {told.step_s:.3g} s a step on the {told.device.upper()}, median of {told.steps}")
        on_cpu = told.device == "cpu"
        found[group] = Past(None if on_cpu else told.hours, told.hours if on_cpu else None, source="probe")
    return found


def _in_a_process(run: Run) -> Probe | str:
    """A run's probe, or why there is none; in a process of its own, because memory may not suffice."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(run, sender), daemon=True)
    process.start()
    sender.close()
    try:
        if receiver.poll(_LIMIT_S):
            told: Probe | str = receiver.recv()
            return told
        return f"not even three steps within {_LIMIT_S:.0f} s"
    except EOFError:
        process.join()
        return f"its process ended with status {process.exitcode} (out of memory?)"
    finally:
        process.kill()
        process.join()


def _measure(run: Run, sender: Connection) -> None:
    """What the process does."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - a file of the kernel's
        file.write("1000")  # where memory runs out, this is what may go
    from tksbench.train.probe import measure

    try:
        sender.send(measure(run, _PATIENCE_S))
    except TksbenchError as error:
        sender.send(str(error))
