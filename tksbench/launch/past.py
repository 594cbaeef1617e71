"""What finished runs have cost: the best guess at what their like will cost."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tksbench.runs import Finished, Ledger


@dataclass(frozen=True)
class Past:
    """Means over the finished runs of one group (the same spec with any seed); None where no run tells.

    Of a group without any they may be a probe's, scaled up (`launch.probe`), or at the pace of runs of the same shape
    (`launch.pace`).

    Attributes:
        gpu_hours: Of those that used a GPU.
        cpu_hours: Wall time of those that used none, whatever the number of their threads.
        gpu_kwh: Energy of those that used a GPU and measured it.
        disk_bytes: Size of those directories that are here.
        source: Where hours come from.
    """

    gpu_hours: float | None = None
    cpu_hours: float | None = None
    gpu_kwh: float | None = None
    disk_bytes: float | None = None
    source: Literal["records", "probe", "pace"] = "records"


def past_costs(ledger: Ledger, heads: Iterable[Finished] | None = None) -> dict[str, Past]:
    """Costs of all finished runs by group.

    Args:
        ledger: The results folder.
        heads: Its finished runs; None reads them.
    """
    groups: dict[str, list[Finished]] = defaultdict(list)
    for head in ledger.all_finished() if heads is None else heads:
        groups[head.group].append(head)
    return {group: _past(heads, ledger) for group, heads in groups.items()}


def _past(heads: list[Finished], ledger: Ledger) -> Past:
    on_gpu = [head for head in heads if head.gpu_hours > 0]
    return Past(
        gpu_hours=_mean(head.gpu_hours for head in on_gpu),
        cpu_hours=_mean(head.hours for head in heads if head.gpu_hours == 0),
        gpu_kwh=_mean(head.energy_kwh for head in on_gpu if head.energy_kwh is not None),
        disk_bytes=_mean(size for head in heads if (size := _size(ledger, head.id))),
    )


def _size(ledger: Ledger, run: str) -> float:
    """Bytes of a finished run's directory; 0 where there is none, or no longer all of it."""
    run_dir = ledger.run_dir(run)
    if not (run_dir.record.exists() and run_dir.checkpoints.is_dir()):
        return 0.0
    return float(sum(path.stat().st_size for path in run_dir.path.rglob("*") if path.is_file()))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
