"""From a cell to the runs behind it: what was trained, with which code, on what, and how to train it again."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

from tksbench.launch.cost import estimate_gpu_hours
from tksbench.recipe import suggest
from tksbench.report.cells import group_records
from tksbench.report.groups import ReportError
from tksbench.report.tables import METRICS, build_table
from tksbench.runs.provenance import rerun_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Paper, Row
    from tksbench.runs import Ledger
    from tksbench.runs.record import Record

LOG_LINES = 12
_SHOWN_FILES = 20


def why(
    name: str, paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, ledger: Ledger
) -> str:
    """Everything known about a cell or a claim, as text; of a table, or a part of one, its cells and their verdicts.

    Args:
        name: A cell (``table1/cifar10/resnet19/tks``), the name of a run, the id of a claim, what cells begin with
            (``table1``, ``table1/cifar10``), or ``claims``.
        paper: The paper's numbers.
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        ledger: Where the logs lie.

    Raises:
        ReportError: No such cell.
    """
    ids = [claim.id for claim in paper.claims]
    if name in ids:
        from tksbench.report.why_claim import why_claim

        return why_claim(name, paper, protocols, evidence, ledger)
    rows = [row for row in paper.own_rows() if name in (row.cell, row.run)]
    if not rows and name not in protocols:
        listed = _listing(name.rstrip("/"), paper, protocols, evidence)
        if listed:
            return listed
        words = [word for row in paper.own_rows() for word in (row.cell, row.run) if word]
        parts = {word[: slash.start()] for word in words for slash in re.finditer("/", word)}
        near = suggest(name, [*ids, *parts, *words])
        example = next((row.cell for row in paper.own_rows()), None)
        hint = near if near.startswith("did you mean") else f"cells are named like {example}"
        raise ReportError(f"--why {name}: no such cell; {hint}")
    by_group = group_records((*evidence.published, *evidence.local))
    lines = [line for row in rows for line in _paper_lines(row)]
    run = rows[0].run or "" if rows else name
    lines += [*([""] if rows else []), f"run {run}"]
    if not protocols.get(run):
        lines.append("  no recipe names this run yet")
    for candidate in protocols.get(run, ()):
        lines += _protocol_lines(candidate, len(by_group.get(candidate.group, ())), evidence)
    for candidate in protocols.get(run, ()):
        for record in by_group.get(candidate.group, ()):
            lines += ["", *_record_lines(record, ledger)]
    return "\n".join(lines) + "\n"


def _listing(name: str, paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence) -> str | None:
    """The cells that begin with a name, or all claims, each with its verdict; None if there is none."""
    from tksbench.report import claims_table

    pairs: list[tuple[str, str]]
    if name == claims_table.NAME:
        results = claims_table.build_claims(paper, protocols, evidence, estimate_gpu_hours).results
        pairs = [(result.claim.id, result.verdict) for result in results]
    else:
        within = [one for one in paper.tables if name == one or name.startswith(f"{one}/")]
        tables = [build_table(one, paper, protocols, evidence, estimate_gpu_hours) for one in within]
        named = [(cell.row.cell or "", cell.verdict) for table in tables for cell in table.cells]
        pairs = [(cell, verdict) for cell, verdict in named if cell.startswith(f"{name}/")]
    if not pairs:
        return None
    width = max(len(word) for word, _ in pairs)
    lines = [f"{name}: {len(pairs)} {'claims' if name == claims_table.NAME else 'cells'}; what stands behind one:"]
    lines += [f"  python -m tksbench.tables --why {pairs[0][0]}", ""]
    return "\n".join([*lines, *(f"{word:{width}}  {verdict}" for word, verdict in pairs)]) + "\n"


def _paper_lines(row: Row) -> Iterator[str]:
    value = "no such row" if row.value is None else f"{row.value:.{row.decimals}f} {METRICS[row.metric]}"
    yield f"cell {row.cell}"
    yield f"  paper: {value}{f' ({row.where})' if row.where else ''}"


def _protocol_lines(candidate: Candidate, records: int, evidence: Evidence) -> Iterator[str]:
    state = evidence.states.get(candidate.group)
    found = f"{records} record{'s' * (records != 1)}" + (f", {state}" if state else "")
    yield f"  scale {candidate.scale}, {candidate.source} data, group {candidate.group}: {found}"
    yield f"    {rerun_command(candidate.run)}"


def _record_lines(record: Record, ledger: Ledger) -> Iterator[str]:
    proof, cost, best, last = record.provenance, record.cost, record.metrics.best, record.metrics.last
    published = ledger.published(record.id)
    yield f"run {record.id}: {record.name}, scale {record.scale}, seed {record.seed}"
    yield f"  record: {published if published.exists() else ledger.run_dir(record.id).record}"
    for which, metrics in (("best", best), ("last", last)):
        epoch = f"{metrics.epoch + 1} of {record.spec.optim.epochs}"
        yield f"  {which} epoch, {epoch}: top-1 {metrics.top1:.2f} %, top-5 {metrics.top5:.2f} %"
        yield f"    AURC x 10^3: {metrics.aurc_logit:.2f} by the highest logit, as the authors' code has it;"
        yield f"      {metrics.aurc_softmax:.2f} by the highest probability (Geifman)"
        yield f"    expected calibration error {metrics.ece:.3f}"
    if cost.snn:
        rate = "none" if cost.snn["spike_rate"] is None else f"{cost.snn['spike_rate']:.3f}"
        yield (
            f"  an inference: spike rate {rate}, {cost.snn['macs'] / 1e6:.2f} MMAC, "
            f"{cost.snn['synops'] / 1e6:.2f} MSynOp, {cost.snn['energy_mj'] * 1e3:.2f} µJ (45 nm estimate)"
        )
    yield f"  commit: {proof.commit or 'not from a checkout'}{', with uncommitted changes (below)' * bool(proof.dirty)}"
    yield f"  trained: {proof.started} to {proof.finished}, {cost.hours:.2f} h ({cost.gpu_hours:.2f} GPU-h)"
    yield f"  device: {', '.join(proof.devices) or cost.device}; threads: {proof.threads}; {proof.platform}"
    if proof.processes > 1:
        yield f"  {proof.processes} processes on {proof.nodes} machine{'s' * (proof.nodes != 1)}"
    versions = ", ".join(
        [f"Python {proof.python}", *(f"{name} {word}" for name, word in sorted(proof.versions.items()))]
    )
    yield from textwrap.wrap(f"versions: {versions}", 80, initial_indent="  ", subsequent_indent="    ")
    files = sorted(proof.data.items())
    yield f"  data: {len(files)} file{'s' * (len(files) != 1)}"
    yield from (f"    {digest}  {name}" for name, digest in files[:_SHOWN_FILES])
    if len(files) > _SHOWN_FILES:
        yield f"    ... and {len(files) - _SHOWN_FILES} more in the record"
    yield f"  weights: sha256 {record.weights_sha256}"
    yield f"  command: {proof.command}"
    yield "  again (a finished run is never trained twice, so in a results folder of its own), and compared:"
    if proof.commit:
        yield f"    git checkout {proof.commit}"
    yield f"    TKSBENCH_RESULTS=again {proof.command}"
    yield f"    python -m tksbench.diff {record.id} again/runs/{record.id}"
    yield "  spec:"
    yield from _tree(record.spec.model_dump(mode="json"), "    ")
    if proof.diff:
        yield "  uncommitted changes:"
        yield from (f"    {line}" for line in proof.diff.splitlines())
    yield from _log_tail(record, ledger)


def _log_tail(record: Record, ledger: Ledger) -> Iterator[str]:
    log = ledger.run_dir(record.id).log
    if not log.exists():
        yield "  log: not on this machine"
        return
    yield f"  log: {log}, its end:"
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    yield from (f"    {line}" for line in tail)


def _tree(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield f"{indent}{key}:{' {}' * (not item)}"
            yield from _tree(item, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}"
