"""What runs cost of which there is no record, by training their first steps here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tksbench.estimate.records import Costs
from tksbench.progress import working
from tksbench.runs import environment
from tksbench.train.probe import measure_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tksbench.launch.plan import Item


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
            result = measure_apart(run)
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
