"""What lies behind a claim's verdict: each pair of runs, with McNemar's test wherever the right samples are known."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from tksbench.estimate.model import estimate_gpu_hours
from tksbench.metrics import correct, mean_logits
from tksbench.report.claims import claims
from tksbench.report.claims_table import numbers
from tksbench.report.groups import telling
from tksbench.report.paper_claims import finding
from tksbench.report.paper_claims_table import row_of
from tksbench.report.stats import mcnemar_exact
from tksbench.runs import sha256_file
from tksbench.runs.arrays import read_array
from tksbench.runs.provenance import rerun_command
from tksbench.runs.record import unpack_correct
from tksbench.text import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tksbench.metrics import Mask
    from tksbench.report.claims import Choice, Comparison
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.report.paper import Claim, Paper, Side
    from tksbench.runs import Ledger
    from tksbench.runs.record import Record


def why_claim(
    name: str, paper: Paper, protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, ledger: Ledger
) -> str:
    """Everything known about a claim, as text; the arguments are those of `why.why`.

    McNemar's test at single steps needs the per-step logits, which lie in the run directories and in no record. It is
    given for the pairs whose logits are on this machine and are those that the record was made from.
    """
    (result,) = (one for one in claims(paper, protocols, evidence, estimate_gpu_hours) if one.claim.id == name)
    claim = result.claim
    stated = "no size stated" if claim.value is None else f"{claim.value:+.{claim.decimals}f}"
    lines = [f"claim {claim.id}"]
    for words in (claim.text, f"paper: {stated} ({claim.where})", *_own_numbers(claim, paper)):
        lines += textwrap.wrap(words, 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    lines += [f"  verdict: {result.verdict}"]
    lines += [f"  stated size: {result.size}"] * bool(result.size)
    choices: tuple[tuple[Choice, Comparison | None], ...] = (("best", result.best), ("last", result.last))
    for choice, compared in choices:
        if compared:
            lines += ["", *_pair_lines(claim, choice, compared, evidence, ledger)]
    lines.append("")
    seeds = result.best.seeds if result.best else ()
    for run in dict.fromkeys(side.run for side in (claim.a, claim.b) if side.run):
        at = [
            one for one in telling(protocols.get(run, ())) if (one.scale, one.source) == (result.scale, result.source)
        ]
        at = at or list(protocols.get(run, ()))[:1]
        more = max(seeds, default=0) - at[0].run.first_seed + 1 if at else 0
        lines += [rerun_command(one.run) + f" --seeds {more}" * (more > 1) for one in at[:1]]
        lines += [f"no recipe names the run {run} yet"] * (not at)
        lines.append(f"python -m tksbench.tables --why {run}")
    return "\n".join(lines) + "\n"


def _own_numbers(claim: Claim, paper: Paper) -> Iterator[str]:
    """The sentence that makes a claim, and what the paper's own numbers say of it."""
    if claim.statement is None:
        return
    said = paper.statements[claim.statement]
    yield f"section {said.section}: {said.says}"
    found = finding(claim, paper)
    if found.a and found.b:
        _, a, b, difference, p, _, verdict = row_of(found)
        note = f"; {found.note}" if found.note else ""
        yield f"its own numbers: {a} and {b}, {difference}, p {p}: {verdict}{note}"


def _pair_lines(
    claim: Claim, choice: Choice, compared: Comparison, evidence: Evidence, ledger: Ledger
) -> Iterator[str]:
    records = {record.id: record for record in (*evidence.published, *evidence.local)}
    first = claim.kind == "first_lowest"
    at = f", step {compared.step} alone" + " less step 1 alone" * first if compared.step else ""
    if claim.kind == "worst_class":
        at = ", the lowest recall of any class at step 1 alone"
    if claim.kind == "narrows":
        at = f", the difference at {count(claim.a.steps or 0, 'time step')} less that at all"
    yield f"{choice} epoch{at}"
    mean, interval, p, corrected, _, n = numbers(compared)
    yield f"  difference {mean} (95 %: {interval}), n = {n}; p {p}, after Holm's correction {corrected}"
    for machine, seeds in compared.machines:
        yield f"  seed {', '.join(map(str, seeds))}: on {machine}"
    for seed, (a, b), difference in zip(compared.seeds, compared.runs, compared.differences, strict=True):
        yield f"  seed {seed}: {difference:+z.2f} (run {a} less {f'run {b}' if b else 'the cited number'})"
        if b is None or claim.kind in ("narrows", "worst_class"):  # no pair of classifiers to test
            continue
        sides = ((records[a], claim.a, compared.step), (records[b], claim.b, 1 if first else compared.step))
        right = [_right(record, side, choice, step, ledger) for record, side, step in sides]
        if right[0] is not None and right[1] is not None and right[0].shape == right[1].shape:
            test = mcnemar_exact(right[0], right[1])
            yield f"    McNemar: {test.only_a} samples right in the first only, {test.only_b} in the second,"
            yield f"      p {test.p:.3g}"
        else:
            yield "    McNemar: the per-step logits are not on this machine"


def _right(record: Record, side: Side, choice: Choice, step: int | None, ledger: Ledger) -> Mask | None:
    """Which test samples a side has right, or None where that is not known here."""
    if step is None and side.steps is None:
        return np.asarray(unpack_correct(getattr(record.test, f"correct_{choice}"), record.test.n), dtype=bool)
    run_dir = ledger.run_dir(record.id)
    paths = (run_dir.logits(choice), run_dir.labels)
    if any(not path.is_file() or sha256_file(path) != record.files.get(path.name) for path in paths):
        return None
    logits, labels = (read_array(path) for path in paths)
    return correct(logits[:, step - 1] if step else mean_logits(logits, side.steps), labels)
