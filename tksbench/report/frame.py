"""Records as data: every number of every run as one tidy table, for pandas, a spreadsheet or R."""

from __future__ import annotations

import io
import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.report.groups import ReportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pandas import DataFrame

    from tksbench.recipe import DataSpec
    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record

COLUMNS = (
    *("dataset", "network", "method", "T", "scale", "data", "seed"),
    *("epoch_choice", "epoch", "metric", "step", "label", "value"),
    *("device", "instructions", "id", "group", "name", "overrides", "current", "commit", "dirty", "published"),
)
_SCALARS = ("top1", "top5", "loss", "ece", "aurc_logit", "aurc_softmax", "eaurc_logit", "eaurc_softmax")
_BY_STEP = ("top1_prefix", "top1_step", "top1_rebinned")
_COSTS = ("hours", "gpu_hours", "energy_kwh", "images_per_s", "parameters")
_INFERENCE = ("spike_rate", "macs", "synops", "energy_mj")
_CURVES = ("lr", "train_loss", "train_top1", "test_top1")
_TYPES = {
    "epoch": "Int64",
    "step": "Int64",
    "label": "Int64",
    "value": "float64",
    "current": "boolean",
    "dirty": "boolean",
}  # may be missing
SUFFIXES = (".csv", ".parquet")


def records(results: Path | str | None = None, *, curves: bool = False) -> DataFrame:
    """Every number of every finished run, one row each: tidy data.

    Args:
        results: The results folder; None takes `TKSBENCH_RESULTS`, else ``results`` in the working directory. Both
            its published records and this machine's finished runs are read; a run of both kinds counts once.
        curves: Add the training curves, four rows an epoch: ``lr``, ``train_loss``, ``train_top1``, ``test_top1``.

    Returns:
        A row a run and metric, with these columns:

        - ``dataset``, ``network``, ``method`` (the last part of the run's name), ``T``, ``scale``, ``seed``;
        - ``data``: ``real``; ``subset``, a part of the real data; ``twin``, simulated recordings; or ``stand-in``,
          which says nothing of the data set;
        - ``epoch_choice``: ``best`` (picked on the test set) or ``last``; missing for costs and curves;
        - ``epoch``, from 1; ``metric``; ``value``: accuracies in percent, AURC times 10^3, losses in nats, energy of
          training in kWh and of an inference in mJ;
        - ``step``: time step, from 1, of ``top1_prefix`` (the first so many steps), ``top1_step`` (that step alone)
          and ``top1_rebinned`` (recordings cut anew into so many frames); ``label``: class, from 0, of
          ``first_step_recall``;
        - ``device``, ``instructions`` (the set that torch's CPU kernels used; missing in older records), ``id`` and
          ``group`` (runs that differ in their seed alone), ``name``, ``overrides`` (what the command line changed in
          the recipe, "" for most), ``commit``, ``dirty`` (it takes more than that commit to make it again),
          ``published``;
        - ``current``: whether a recipe still asks for such a run. Only these stand in the tables: a recipe that was
          edited since gives its runs another protocol under the same name. Missing where there are no recipes.

    Raises:
        ReportError: There is no such folder.

    Warns:
        UserWarning: Records that contradict themselves or the recipes are left out and named.

    Examples:
        >>> import tksbench
        >>> frame = tksbench.records()  # doctest: +SKIP
        >>> top1 = frame.query("current and metric == 'top1' and epoch_choice == 'best'")  # doctest: +SKIP
        >>> top1.groupby(["dataset", "scale", "data", "method"])["value"].mean()  # doctest: +SKIP
    """
    import warnings

    from tksbench.report.evidence import gather
    from tksbench.report.groups import candidates, recipes_in
    from tksbench.runs import Ledger

    ledger = Ledger(None if results is None else Path(results))
    if not ledger.root.is_dir():
        raise ReportError(f"{ledger.root}: no such folder: start in the checkout's root folder or set TKSBENCH_RESULTS")
    folders = [Path("recipes"), ledger.root.parent / "recipes"]
    protocols = candidates(next((found for folder in folders if (found := recipes_in(folder))), []))
    evidence = gather(ledger, protocols)
    if evidence.problems:
        warnings.warn("left out: " + "; ".join(evidence.problems), stacklevel=2)
    return frame(evidence, protocols, curves=curves)


def frame(evidence: Evidence, protocols: Mapping[str, Sequence[Candidate]], *, curves: bool = False) -> DataFrame:
    """The table that `records` describes, in an order that depends on the records alone.

    Args:
        evidence: From `evidence.gather`.
        protocols: From `groups.candidates`; empty if there are no recipes.
        curves: As for `records`.
    """
    import pandas as pd

    public = {record.id for record in evidence.published}
    asked = {candidate.group for found in protocols.values() for candidate in found}
    known = sorted((*evidence.published, *evidence.local), key=lambda one: (one.name, one.scale, one.seed, one.id))
    parts = (
        _rows(record, {"current": record.group in asked if asked else None, "published": record.id in public}, curves)
        for record in known
    )
    return pd.DataFrame(itertools.chain.from_iterable(parts), columns=list(COLUMNS)).astype(_TYPES)


def data_words(data: DataSpec) -> str:
    """What a run was trained on: the ``real`` data, a ``subset`` of them, its ``twin``, or a ``stand-in``."""
    if data.source != "real":
        return "stand-in" if data.source == "miniature" else data.source
    return "real" if data.train_subset is None and data.test_subset is None else "subset"


def export(table: DataFrame, path: Path) -> None:
    """Write a table, whole or not at all; the kind of file follows from its name (`check_export`).

    Raises:
        ReportError: No such kind of file, or Parquet without pyarrow.
        LedgerError: It cannot be written.
    """
    from tksbench.runs import write_bytes

    check_export(path)
    if path.suffix == ".parquet":
        buffer = io.BytesIO()
        table.to_parquet(buffer, engine="pyarrow", index=False)
        write_bytes(path, buffer.getvalue())
    else:
        write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())


def check_export(path: Path) -> None:
    """Refuse early what `export` cannot write.

    Raises:
        ReportError: No such kind of file, or Parquet without pyarrow.
    """
    if path.suffix not in SUFFIXES:
        raise ReportError(f"--export {path}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ReportError(
            f"--export {path}: Parquet files need the package pyarrow, which is not installed: python -m pip install "
            f"pyarrow, or write {path.with_suffix('.csv')}"
        )


def _rows(record: Record, known: dict[str, Any], curves: bool) -> Iterator[dict[str, Any]]:
    spec = record.spec
    run = known | {
        "dataset": spec.data.name,
        "network": spec.network,
        "method": record.name.rpartition("/")[2],
        "T": spec.steps,
        "scale": record.scale,
        "data": data_words(spec.data),
        "seed": record.seed,
        "device": record.cost.device,
        "instructions": record.provenance.machine.get("instructions"),
        "id": record.id,
        "group": record.group,
        "name": record.name,
        "overrides": " ".join(record.overrides),
        "commit": record.provenance.commit,
        "dirty": record.provenance.dirty,
    }
    for values in _values(record, curves):
        if values["value"] is not None:
            yield run | values


def _values(record: Record, curves: bool) -> Iterator[dict[str, Any]]:
    for choice in ("best", "last"):
        metrics = getattr(record.metrics, choice)
        at = {"epoch_choice": choice, "epoch": metrics.epoch + 1}
        for name in _SCALARS:
            yield at | {"metric": name, "value": getattr(metrics, name)}
        over_time = metrics.top1_over_time
        for step, value in over_time or ():
            yield at | {"metric": "top1_prefix", "step": step, "value": value}
        for name in _BY_STEP if over_time is None else ():
            for step, value in enumerate(getattr(metrics, name) or (), start=1):
                yield at | {"metric": name, "step": step, "value": value}
        for label, value in enumerate(metrics.first_step_recall):
            yield at | {"metric": "first_step_recall", "label": label, "value": value}
    for name in _COSTS:
        yield {"metric": name, "value": getattr(record.cost, name)}
    for name in _INFERENCE:
        yield {"metric": name, "value": (record.cost.snn or {}).get(name)}
    curve = record.metrics.curve
    for name in _CURVES if curves else ():
        for epoch, value in zip(curve.epoch, getattr(curve, name), strict=True):
            yield {"metric": name, "epoch": epoch + 1, "value": value}
