"""Two runs side by side: what they were asked for, where they were trained, and the first step at which they part."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tksbench.report.groups import ReportError
from tksbench.runs import Ledger, RunDir, read_jsonl, sha256_file
from tksbench.runs.record import load_record, unpack_correct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tksbench.recipe import RunSpec
    from tksbench.runs.record import Provenance, Record

WIDTH = 80
_SHOWN = 24  # rows of one section
_SCALARS = ("epoch", "top1", "top5", "loss", "ece", "aurc_logit", "aurc_softmax")
_DIGEST = 20  # characters of a checksum shown
_ABSENT = "not there"


@dataclass(frozen=True)
class Side:
    """One of the two runs.

    Attributes:
        path: The record, or the folder of a run that has none yet.
        title: Id, name, scale and seed.
        spec: What was asked for.
        record: None while the run is not finished.
        losses: The loss of every step, by epoch; None where that log is not at hand.
        altered: Files of the run that are not what its record was made of.
    """

    path: Path
    title: str
    spec: RunSpec
    record: Record | None
    losses: list[list[float]] | None
    altered: tuple[str, ...] = ()

    def epoch_losses(self) -> list[float] | None:
        """Mean loss of each epoch."""
        if self.record is not None:
            return self.record.metrics.curve.train_loss
        return [sum(epoch) / len(epoch) for epoch in self.losses] if self.losses else None


class Parting(NamedTuple):
    """The first place at which two curves differ; `step` is None for curves of one value an epoch."""

    epoch: int
    step: int | None
    first: float
    second: float


class Section(NamedTuple):
    """One aspect: what is to be said of it, the values that differ, and whether it is equal (None: unknown)."""

    name: str
    says: str
    rows: list[tuple[str, str, str]]
    equal: bool | None


def find_side(ledger: Ledger, word: str) -> Side:
    """The run that a word names: a record or a run's folder by path, else what a run's id begins with.

    Args:
        ledger: Where ids are looked up; a published record goes before the run it was made from.
        word: What the user has typed.

    Raises:
        ReportError: Nothing, or more than one run, is named so.
        RecordError: The record is none.
        LedgerError: The run's folder cannot be read.
    """
    runs = {folder.id for folder in ledger.run_dirs()}
    records = {file.stem for file in (ledger.root / "records").glob("*.json")}
    found = sorted(run for run in runs | records if word and run.startswith(word))
    if os.sep in word or (word and not found and Path(word).exists()):
        if not Path(word).exists():
            raise ReportError(f"{word}: no such record or run folder")
        return _from_path(Path(word).absolute())
    if len(found) != 1:
        told = f"begins {len(found)} ids: {', '.join(found[:4])}{', ...' * (len(found) > 4)}; type more of it"
        none = f"begins no id under {ledger.root}; they are names of folders in runs/ and of files in records/ there"
        raise ReportError(f"'{word}' {told if found else none}")
    published = ledger.published(found[0])
    return _from_path(published if published.exists() else ledger.run_dir(found[0]).path)


def _from_path(path: Path) -> Side:
    folder = path if path.is_dir() else None
    if folder is not None and (folder / "record.json").exists():
        path = folder / "record.json"
    if path.is_dir():
        run_dir = RunDir(path)
        if not run_dir.run.exists():
            raise ReportError(f"{path}: holds neither record.json nor run.json: not a run's folder")
        run = Ledger(path.parent.parent).load_run(run_dir)
        title = f"{run.id}  {run.name}, {run.scale}, seed {run.seed}, not finished"
        return Side(path, title, run.spec, None, _losses(run_dir) or None)
    record = load_record(path)
    run_dir = RunDir(path.parent) if path.name == "record.json" else Ledger(path.parent.parent).run_dir(record.id)
    altered = tuple(
        name
        for name, stated in record.files.items()
        if (run_dir.path / name).is_file() and sha256_file(run_dir.path / name) != stated
    )
    at_hand = run_dir.losses.is_file() and run_dir.losses.name not in altered
    title = f"{record.id}  {record.name}, {record.scale}, seed {record.seed}"
    return Side(path, title, record.spec, record, _losses(run_dir) if at_hand else None, altered)


def _losses(run_dir: RunDir) -> list[list[float]]:
    return [row["loss"] for row in read_jsonl(run_dir.losses) if isinstance(row.get("loss"), list) and row["loss"]]


def compare(first: Side, second: Side) -> tuple[str, bool]:
    """Everything in which two runs differ, as text, and whether spec and results are equal to the bit.

    Versions, device, data and commit are printed and do not decide: equal results are equal wherever they were made.
    """
    told = [
        _section("spec", *(_flat(side.spec.model_dump(mode="json")) for side in (first, second))),
        *_origins(first.record, second.record),
    ]
    results = [_loss_section(first, second), *_results(first.record, second.record)]
    lines = [*_head("A", first), *_head("B", second), ""]
    for section in (*told, *results):
        lines += _render(section)
    apart = [section.name for section in (told[0], *results) if section.equal is False]
    unknown = [section.name for section in results if section.equal is None]
    equal = not apart and not unknown
    end = f"different: {', '.join(apart)}" if apart else f"no difference seen, but not known: {', '.join(unknown)}"
    return "\n".join([*lines, "", "equal to the bit" if equal else end]) + "\n", equal


def _head(letter: str, side: Side) -> Iterator[str]:
    yield f"{letter}  {side.title}"
    shown = os.path.relpath(side.path)
    yield f"   {shown if not shown.startswith(os.pardir) else side.path}"
    if side.altered:
        yield f"   altered since its record was made, not looked at: {', '.join(side.altered)}"


def _section(
    name: str, first: Mapping[str, Any], second: Mapping[str, Any], *, count: str = "", equal: str = "equal"
) -> Section:
    """Compare values by key; `count` names what is counted where all are equal."""
    keys = dict.fromkeys((*first, *second))
    rows = [
        (key, _text(first[key]) if key in first else _ABSENT, _text(second[key]) if key in second else _ABSENT)
        for key in keys
        if first.get(key, _ABSENT) != second.get(key, _ABSENT)
    ]
    same = f"{equal}, {len(keys)} {count}{'s' * (len(keys) != 1)}" if count else equal
    return Section(name, f"{len(rows)} of {len(keys)} differ" if rows else same, rows, not rows)


def _origins(first: Record | None, second: Record | None) -> Iterator[Section]:
    if first is None or second is None:
        yield Section("origin", "versions, device, data, code: not known of an unfinished run", [], None)
        return
    a, b = first.provenance, second.provenance
    yield _section("versions", _versions(a), _versions(b), count="package")
    lacking = [letter for letter, proof in (("A", a), ("B", b)) if not proof.machine]  # of an earlier version
    machines = [{} if lacking else proof.machine for proof in (a, b)]
    devices = [_devices(record) | machine for record, machine in zip((first, second), machines, strict=True)]
    yield _section("device", *devices, equal=f"equal, {first.cost.device}")
    if lacking:
        yield Section("environment", f"{' and '.join(lacking)}: not recorded, nor the instruction set", [], None)
    else:
        same = f"equal, {', '.join(f'{k}={v}' for k, v in a.environment.items()) or 'no variable that changes bits'}"
        yield _section("environment", a.environment, b.environment, equal=same)
    # All of a checksum is compared, a part is shown.
    data = _section("data", a.data, b.data, count="file")
    yield data._replace(rows=[(name, _cut(x, _DIGEST), _cut(y, _DIGEST)) for name, x, y in data.rows])
    same = f"equal, {(a.commit or 'none')[:12]}{' and the same changes' * bool(a.diff)}"
    yield _section("commit", *_commits(a, b), equal=same)


def _versions(proof: Provenance) -> dict[str, str]:
    return proof.versions | {"Python": proof.python, "platform": proof.platform}


def _devices(record: Record) -> dict[str, Any]:
    proof = record.provenance
    return {
        "device": record.cost.device,
        "all devices": proof.devices,
        "threads": proof.threads,
        "processes": proof.processes,
        "nodes": proof.nodes,
    }


def _commits(*proofs: Provenance) -> list[dict[str, str | None]]:
    """What records say of their code, and where attempts of one run were of unlike code or under unlike conditions."""
    found: list[dict[str, str | None]] = []
    for proof in proofs:
        lines = proof.diff.splitlines()
        notes = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
        changes = "\n".join(line for line in lines if not line.startswith("# "))
        found.append({"commit": proof.commit, "uncommitted changes": changes or "none"})
        if all(one.code for one in proofs):
            found[-1] |= {"code": proof.code}
        found[-1] |= {f"attempts {number}": note for number, note in enumerate(notes, 1)}
    return found


def _results(first: Record | None, second: Record | None) -> Iterator[Section]:
    if first is None or second is None:
        yield Section("metrics", "not known of an unfinished run", [], None)
        yield Section("weights", "not known of an unfinished run", [], None)
        return
    rows = [row for choice in ("last", "best") for row in _metric_rows(choice, first, second)]
    same = first.metrics == second.metrics and first.test == second.test
    says = "equal" if same else f"{len(rows)} differ" if rows else "differ, in values not shown here"
    yield Section("metrics", says + _judged_otherwise(first, second), rows, same)
    hashes = {"weights": (first.weights_sha256, second.weights_sha256)}
    for name in ("logits_last.npy", "logits_best.npy"):
        if name in first.files and name in second.files:
            hashes[name] = (first.files[name], second.files[name])
    for name, (a, b) in hashes.items():
        says = f"equal, sha256 {a[:12]}…" if a == b else f"differ, sha256 A {a[:12]}… B {b[:12]}…"
        yield Section(name.removesuffix(".npy"), says, [], a == b)


def _judged_otherwise(first: Record, second: Record) -> str:
    """How many test samples one run has right and the other wrong; "" for none, or other test sets."""
    n, told = first.test.n, []
    for choice in ("last", "best"):
        bits = [unpack_correct(getattr(one.test, f"correct_{choice}"), one.test.n) for one in (first, second)]
        changed = sum(x != y for x, y in zip(*bits, strict=False))
        told += [f"{changed} ({choice})"] if changed else []
    same_set = second.test.n == n and first.spec.data == second.spec.data
    return f"; right in one alone, of {n}: {', '.join(told)}" if told and same_set else ""


def _metric_rows(choice: str, first: Record, second: Record) -> Iterator[tuple[str, str, str]]:
    for name in _SCALARS:
        a, b = (getattr(getattr(record.metrics, choice), name) for record in (first, second))
        if a != b:
            yield f"{choice} {name}", f"{a:.6g}", f"{b:.6g} ({b - a:+.3g})"


def _loss_section(first: Side, second: Side) -> Section:
    a, b = first.losses, second.losses
    if a is not None and b is not None:
        where = part(a, b)
        lengths = [sum(map(len, side)) for side in (a, b)]
        unit = "step"
    else:
        # A run's directory holds the log of all steps; a record alone has the mean of each epoch.
        means = [side.epoch_losses() for side in (first, second)]
        if means[0] is None or means[1] is None:
            return Section("loss", "no losses are logged", [], None)
        where = part([[loss] for loss in means[0]], [[loss] for loss in means[1]])
        where = where and where._replace(step=None)
        lengths, unit = [len(mean) for mean in means if mean is not None], "epoch"
    if where is None and lengths[0] == lengths[1]:
        return Section("loss", f"equal over {lengths[0]} {unit}s{_by_epoch(first, second)}", [], True)
    if where is None:
        return Section("loss", f"equal over {min(lengths)} {unit}s, then only one goes on", [], False)
    gap = abs(where.first - where.second)
    place = f"epoch {where.epoch}" + ("" if where.step is None else f", step {where.step}")
    rows = [("loss there", repr(where.first), repr(where.second))]
    return Section("loss", f"part at {place} (from 0), by {gap:.3g}{_by_epoch(first, second)}", rows, False)


def _by_epoch(first: Side, second: Side) -> str:
    lacking = [letter for letter, side in (("A", first), ("B", second)) if side.losses is None]
    return f"; {' and '.join(lacking)}: no log of steps" if lacking else ""


def part(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Parting | None:
    """The first step at which two logs of losses, by epoch, differ; None if one is the beginning of the other."""
    for epoch, (a, b) in enumerate(zip(first, second, strict=False)):
        for step, (x, y) in enumerate(zip(a, b, strict=False)):
            if x != y:
                return Parting(epoch, step, x, y)
    return None


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _text(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    lines = text.splitlines()
    return f"{len(lines)} lines" if len(lines) > 1 else text


def _render(section: Section) -> Iterator[str]:
    yield _cut(f"{section.name:<11} {section.says}")
    for key, a, b in section.rows[:_SHOWN]:
        line = f"  {key:<22} A {a}   B {b}"
        if len(line) <= WIDTH:
            yield line
        else:
            yield from (_cut(f"  {key}"), _cut(f"    A {a}"), _cut(f"    B {b}"))
    if len(section.rows) > _SHOWN:
        yield f"  ... and {len(section.rows) - _SHOWN} more"


def _cut(line: str, width: int = WIDTH) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
