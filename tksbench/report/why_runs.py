"""The runs behind a cell, as text: one look at all seeds of a protocol, and all that is known of one run."""

from __future__ import annotations

import json
import re
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.report.cells import group_records
from tksbench.report.facts import facts, log_end, machine_words
from tksbench.runs.provenance import rerun_command
from tksbench.text import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs import Ledger
    from tksbench.runs.record import Record

_SHOWN_FILES = 20
_LABEL = 14  # columns of the facts' names
_DIGEST = 20  # characters of a checksum shown
_PRINT_DIFF = 'import json, sys; print(json.load(open(sys.argv[1]))["provenance"]["diff"])'


def run_lines(run: str, protocols: Sequence[Candidate], evidence: Evidence, ledger: Ledger) -> Iterator[str]:
    """A run's protocols with the command of each, and what was trained under them.

    Args:
        run: Its name.
        protocols: Of the run, the one closest to the paper first; may be empty.
        evidence: From `evidence.gather`.
        ledger: Where the logs lie.
    """
    by_group = group_records((*evidence.published, *evidence.local))
    yield f"run {run}"
    if not protocols:
        yield "  no recipe names this run yet"
    for recipe in dict.fromkeys(candidate.run.recipe for candidate in protocols):
        yield f"  recipe {recipe}"
    for candidate in protocols:
        yield from _protocol_lines(candidate, len(by_group.get(candidate.group, ())), evidence)
    if protocols and not any(candidate.group in by_group for candidate in protocols):
        yield f"  Spec at scale {protocols[0].words}, but for the seed"
        yield from _tree(protocols[0].run.spec.model_dump(mode="json", exclude={"seed"}), "    ")
    spec_shown = False
    for candidate in protocols:
        records = by_group.get(candidate.group, [])
        if len(records) == 1:
            yield ""
            yield from record_lines(records[0], ledger)
        elif records:
            yield ""
            yield from _seed_lines(candidate, records, ledger, with_spec=not spec_shown)
            spec_shown = True


def _seed_lines(candidate: Candidate, records: Sequence[Record], ledger: Ledger, *, with_spec: bool) -> Iterator[str]:
    """All seeds of one protocol: a line each, then what they share, once."""
    from tabulate import tabulate

    yield f"{len(records)} runs at scale {candidate.words}"
    heads = ("seed", "run", "best epoch", "last epoch", "AURC", "took", "record")
    rows = [_seed_row(record, ledger) for record in records]
    align = ("left", "left", "right", "right", "right", "right", "left")
    table = tabulate(rows, heads, tablefmt="plain", disable_numparse=True, colalign=align)
    yield from (f"  {line}".rstrip() for line in table.splitlines())
    yield "  best epoch: top-1 (%), picked on the test set; AURC there, x 10^3, by the"
    yield "  highest logit"
    yield ""
    for fact in facts(records):
        values = [f"{value} ({seeds})" if seeds else value for value, seeds in fact.values]
        lines = [_cut(line) for value in values for line in value.splitlines()]
        wrapped = [part for line in lines for part in textwrap.wrap(line, 80 - _LABEL - 2, break_on_hyphens=False)]
        for number, line in enumerate(wrapped):
            yield f"  {fact.label if number == 0 else '':{_LABEL}}{line}"
    if with_spec:
        yield "  Spec, but for the seed"
        yield from _tree(candidate.run.spec.model_dump(mode="json", exclude={"seed"}), "    ")
    first = records[0]
    yield ""
    yield "  all of one of them: its metrics, files, log, and the commands that make it again"
    yield f"    python -m tksbench.tables --why {first.id}"
    yield f"    python -m tksbench.rerun {first.id}"


def _cut(line: str) -> str:
    """Without the end of a file's checksum, all of which stands in the record: a line is then not broken in two."""
    name, _, digest = line.rpartition(" ")
    return f"{name} {digest[:_DIGEST]}…" if re.match(r"(md5|sha256):", digest) else line


def _seed_row(record: Record, ledger: Ledger) -> tuple[str, ...]:
    best, last, cost = record.metrics.best, record.metrics.last, record.cost
    took = f"{cost.gpu_hours:.2f} GPU-h" if cost.gpu_hours else f"{cost.hours:.2f} h"
    where = "published" if ledger.published(record.id).exists() else "this machine"
    epoch = f"{best.top1:.2f} ({best.epoch + 1} of {record.spec.epochs})"
    return (str(record.seed), record.id, epoch, f"{last.top1:.2f}", f"{best.aurc_logit:.2f}", took, where)


def _protocol_lines(candidate: Candidate, records: int, evidence: Evidence) -> Iterator[str]:
    state = evidence.states.get(candidate.group)
    found = count(records, "record") + (f", {state}" if state else "")
    data = "stand-in" if candidate.stand_in else candidate.source
    yield f"  scale {candidate.scale}, {data} data, group {candidate.group}: {found}"
    yield f"    {rerun_command(candidate.run)}"


def record_lines(record: Record, ledger: Ledger) -> Iterator[str]:
    """All that is known of one finished run."""
    proof, cost, best, last = record.provenance, record.cost, record.metrics.best, record.metrics.last
    published = ledger.published(record.id)
    yield f"run {record.id}: {record.name}, scale {record.scale}, seed {record.seed}"
    yield f"  record: {published if published.exists() else ledger.run_dir(record.id).record}"
    for which, metrics in (("best", best), ("last", last)):
        epoch = f"{metrics.epoch + 1} of {record.spec.epochs}"
        yield f"  {which} epoch, {epoch}: top-1 {metrics.top1:.2f} %, top-5 {metrics.top5:.2f} %"
        yield f"    AURC x 10^3: {metrics.aurc_logit:.2f} by the highest logit, as the authors' code has it;"
        yield f"      {metrics.aurc_softmax:.2f} by the highest probability (Geifman)"
        yield f"    expected calibration error {metrics.ece:.3f}"
    if last.top1_over_time:
        words = ", ".join(f"{steps}: {top1:.2f}" for steps, top1 in last.top1_over_time)
        yield from textwrap.wrap(f"top-1 by time steps: {words}", 80, initial_indent="  ", subsequent_indent="    ")
    if cost.snn:
        rate = "none" if cost.snn["spike_rate"] is None else f"{cost.snn['spike_rate']:.3f}"
        yield (
            f"  an inference: spike rate {rate}, {cost.snn['macs'] / 1e6:.2f} MMAC, "
            f"{cost.snn['synops'] / 1e6:.2f} MSynOp, {cost.snn['energy_mj'] * 1e3:.2f} µJ (45 nm estimate)"
        )
    yield f"  commit: {proof.commit or 'not from a checkout'}{', and more than that (below)' * bool(proof.dirty)}"
    if proof.code:
        yield f"  code: {proof.code}, the digest of all files that can change a result"
    yield f"  trained: {proof.started} to {proof.finished}, {cost.hours:.2f} h ({cost.gpu_hours:.2f} GPU-h)"
    yield f"  device: {', '.join(proof.devices) or cost.device}; threads: {proof.threads}; {proof.platform}"
    if proof.machine:
        words = f"machine: {', '.join(machine_words(record))}"
        yield from textwrap.wrap(words, 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    if proof.processes > 1:
        yield f"  {proof.processes} processes on {count(proof.nodes, 'machine')}"
    versions = ", ".join(
        [f"Python {proof.python}", *(f"{name} {word}" for name, word in sorted(proof.versions.items()))]
    )
    yield from textwrap.wrap(f"versions: {versions}", 80, initial_indent="  ", subsequent_indent="    ")
    files = sorted(proof.data.items())
    yield f"  data: {count(len(files), 'file')}"
    yield from (f"    {digest}  {name}" for name, digest in files[:_SHOWN_FILES])
    if len(files) > _SHOWN_FILES:
        yield f"    ... and {len(files) - _SHOWN_FILES} more in the record"
    yield f"  weights: sha256 {record.weights_sha256}"
    if proof.start:
        yield f"  starts from: {proof.start.get('name')} ({proof.start.get('id')}), weights"
        yield f"    sha256 {proof.start.get('weights_sha256')}"
        yield f"    {_start_words(str(proof.start.get('id')), ledger)}"
    yield f"  command: {proof.command}"
    yield from _again(record, ledger)
    yield "  spec:"
    yield from _tree(record.spec.model_dump(mode="json"), "    ")
    if proof.diff:
        yield "  beside the commit:"
        yield from (f"    {line}" for line in proof.diff.splitlines())
    yield from _log_tail(record, ledger)


def _start_words(identity: str, ledger: Ledger) -> str:
    """What the run that another starts from has come to."""
    from tksbench.runs.errors import RecordError
    from tksbench.runs.record import load_record

    for path in (ledger.published(identity), ledger.run_dir(identity).record):
        with suppress(RecordError):
            return f"top-1 {load_record(path).metrics.last.top1:.2f} % after its last epoch: {path}"
    return "its record is not here"


def _again(record: Record, ledger: Ledger) -> Iterator[str]:
    """The commands that make a run again, as far as there are any."""
    proof, published = record.provenance, ledger.published(record.id)
    patches = list(dict.fromkeys(row.patch for row in record.attempts if row.patch))
    patch = str(ledger.run_dir(record.id).patch(patches[-1])) if patches else ""
    yield "  again (a finished run is never trained twice, so in a results folder of its own), and compared:"
    if patch and not Path(patch).exists():  # saved first: the commit may not have the record
        path = published if published.exists() else ledger.run_dir(record.id).record
        yield f"    python -c '{_PRINT_DIFF}' {path} >changes.diff"
        patch = "changes.diff"
    if proof.commit:
        yield f"    git checkout {proof.commit}"
    if patch:
        yield f"    git apply {patch}"
    if any(line.startswith("# from epoch ") for line in proof.diff.splitlines()):
        yield "    # its attempts were not alike (below), so that no one state makes all of it"
    yield f"    TKSBENCH_RESULTS=again {proof.command}"
    yield f"    python -m tksbench.diff {record.id} again/runs/{record.id}"


def _log_tail(record: Record, ledger: Ledger) -> Iterator[str]:
    end = log_end(record, ledger)
    if not end:
        yield "  log: not on this machine"
        return
    yield f"  log: {ledger.run_dir(record.id).log}, its end:"
    yield from (f"    {line}" for line in end.splitlines())


def _tree(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield f"{indent}{key}:{' {}' * (not item)}"
            yield from _tree(item, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}"
