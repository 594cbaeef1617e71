"""What runs of one protocol were made with: said once where it is the same for all seeds. The end of a run's log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tksbench.runs import Ledger
    from tksbench.runs.record import Record

LOG_LINES = 12
MOST_TEXT = 4_000  # characters of a log's end or of a diff
_MOST_FILES = 6


@dataclass(frozen=True)
class Fact:
    """Something that the runs were made with: one value, or several with the seeds that each holds for."""

    label: str
    values: tuple[tuple[str, str], ...]


def facts(records: Sequence[Record]) -> Iterator[Fact]:
    """What records of one protocol say of their making, one after another; records are not empty."""
    kinds: dict[str, Callable[[Record], str]] = {
        "Commit": _commit,
        "Device": lambda record: record.cost.device,
        "Machine": lambda record: ", ".join(machine_words(record)) or "not recorded",
        "Processes": _processes,
        "Python": lambda record: f"{record.provenance.python} on {record.provenance.platform}",
        "Packages": lambda record: ", ".join(f"{k} {v}" for k, v in sorted(record.provenance.versions.items())),
        "Data": _data,
        "Parameters": lambda record: f"{record.cost.parameters:,}",
        "Test samples": lambda record: f"{record.test.n:,}",
    }
    for label, value_of in kinds.items():
        seeds: dict[str, list[str]] = {}
        for record in records:
            seeds.setdefault(value_of(record), []).append(str(record.seed))
        alone = len(seeds) == 1
        yield Fact(label, tuple((value, "" if alone else f"seed {', '.join(of)}") for value, of in seeds.items()))


def log_end(record: Record, ledger: Ledger) -> str:
    """The last lines of a run's log; "" if it is not on this machine, or not ours to read."""
    path = ledger.run_dir(record.id).log
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4 * MOST_TEXT))
            tail = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(tail.splitlines()[-LOG_LINES:])[-MOST_TEXT:]


def _commit(record: Record) -> str:
    proof = record.provenance
    return (proof.commit or "not from a checkout") + ", and more than that" * bool(proof.dirty)


def machine_words(record: Record) -> list[str]:
    """What decided the last bits besides the device's name; empty for records of earlier versions."""
    proof = record.provenance
    machine = proof.machine
    onednn = f" (oneDNN {machine['onednn_isa']})" if "onednn_isa" in machine else ""
    words = [
        machine.get("kind", ""),
        f"instructions {machine.get('instructions')}{onednn}" * ("instructions" in machine),
    ]
    words += [machine.get("gpu", ""), machine.get("libraries", ""), machine.get("compiler", "")]
    words += [f"torch built from {machine['torch_build']}"] if "torch_build" in machine else []
    return [*filter(None, words), *(f"{name}={value}" for name, value in proof.environment.items())]


def _processes(record: Record) -> str:
    proof = record.provenance
    nodes = f" on {proof.nodes} nodes" if proof.nodes > 1 else ""
    return f"{proof.processes}{nodes}, threads: {proof.threads or 'unknown'}"


def _data(record: Record) -> str:
    files = sorted(record.provenance.data.items())
    more = [f"and {len(files) - _MOST_FILES} more files"] if len(files) > _MOST_FILES else []
    return "\n".join([*(f"{name} {digest}" for name, digest in files[:_MOST_FILES]), *more])
