"""What a finished run has brought: its outcome, and the parts of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from tksbench.data.base import balanced_subset
from tksbench.recipe.catalogue import outsiders
from tksbench.runs.attempts import now, read_attempts
from tksbench.runs.files import read_jsonl, sha256_file
from tksbench.runs.provenance import collect_provenance, rerun_command, setup_apart
from tksbench.runs.record import is_attempt, pack_correct
from tksbench.snn.cost import measure_cost
from tksbench.train.checkpoint import weights_digest
from tksbench.train.features import write_features
from tksbench.train.outcome import Outcome
from tksbench.train.rebinned import rebinned_accuracy
from tksbench.train.start import ledger_of, start_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tksbench.recipe import Run
    from tksbench.runs.paths import RunDir
    from tksbench.snn.layers import SpikingNetwork
    from tksbench.train.loop import Trainer
    from tksbench.train.outcome import Procedure

COST_SAMPLES = 128  # test samples, of all classes alike, over which spike rates are averaged
_CURVE = ("epoch", "lr", "train_loss", "train_top1", "test_top1", "test_top1_halves")


def trained(trainer: Trainer) -> Outcome:
    """What a trainer has in its hands after the last epoch.

    Raises:
        CheckpointError: If the best epoch's logits on disk are not those that were written.
    """
    state, run_dir, test = trainer.state, trainer.dir, trainer.data.test
    assert trainer.last is not None and state.best is not None  # noqa: S101 - the last epoch is always tested
    right_last, right_best = trainer.tested.right(state)
    # Test halves are often sorted by class: the first samples would be of one kind.
    sample = balanced_subset(test.labels, COST_SAMPLES)[:COST_SAMPLES]
    snn = measure_cost(cast("SpikingNetwork", trainer.model), trainer.predictor.images(test, sample))
    features = write_features(trainer)
    logits = (run_dir.logits_last, run_dir.logits_best, run_dir.labels)
    return Outcome(
        last=trainer.last | {"top1_rebinned": rebinned_accuracy(trainer, trainer.last["top1"])},
        best=state.best,
        right_last=right_last,
        right_best=right_best,
        curve=read_jsonl(run_dir.metrics),
        files=(*logits, run_dir.metrics, run_dir.losses, features),
        seconds=state.seconds,
        gpu_seconds=state.gpu_seconds,
        images=state.images,
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        snn=snn | {"samples": len(sample)},
        weights=weights_digest(trainer.model),
        start=start_of(trainer.run, ledger_of(trainer.dir)),
    )


def record_parts(run: Run, run_dir: RunDir, procedure: Procedure, origin: Mapping[str, Any]) -> dict[str, Any]:
    """All parts of the record of a run that is over.

    Args:
        run: The run.
        run_dir: Where its files are.
        procedure: What has done it.
        origin: By what it was trained last, see `origin.attempt_origin`.
    """
    outcome, setup = procedure.outcome(), origin["setup"]
    log = [row for row in read_attempts(run_dir) if is_attempt(row)]  # history alone: a damaged row stops nothing
    started = next((row["time"] for row in log if row.get("event") == "start"), now())
    files = [*outcome.files, *(run_dir.component(key) for key, _ in outsiders(run.spec))]
    files += [run_dir.patch(row["patch"]) for row in log if row.get("patch") and run_dir.patch(row["patch"]).exists()]
    threads = setup["threads"] if procedure.device.type == "cpu" else None
    identity = {key: getattr(run, key) for key in ("id", "group", "name", "recipe", "scale", "seed")}
    return {
        **identity,
        "spec": run.spec.model_dump(mode="json"),
        "overrides": list(run.overrides),
        "metrics": {
            "last": outcome.last,
            "best": outcome.best,
            "curve": {column: [row[column] for row in outcome.curve] for column in _CURVE},
        },
        "test": {
            "n": len(outcome.right_last),
            "correct_last": pack_correct(outcome.right_last.tolist()),
            "correct_best": pack_correct(outcome.right_best.tolist()),
        },
        "attempts": [row | _reduced(row, setup) for row in log],
        "cost": {
            "hours": outcome.seconds / 3600,
            "gpu_hours": outcome.gpu_seconds / 3600,
            "images_per_s": outcome.images / outcome.seconds if outcome.images and outcome.seconds else None,
            "device": setup["devices"][0],
            "parameters": outcome.parameters,
            "snn": outcome.snn,
        },
        "provenance": collect_provenance(
            command=rerun_command(run, threads, setup["environment"]),
            started=started,
            finished=now(),
            data=procedure.manifest,
            origin=origin,
            log=log,
            patch_of=lambda name: _patch(run_dir, name),
            start=outcome.start,
        ),
        "weights_sha256": outcome.weights,
        "files": {path.name: sha256_file(path) for path in files},
    }


def _reduced(row: Mapping[str, Any], final: Mapping[str, Any]) -> dict[str, Any]:
    """An attempt's setup less what it has in common with the last one's: a record may name hundreds of attempts."""
    return {"setup": setup_apart(row["setup"], final)} if isinstance(row.get("setup"), dict) else {}


def _patch(run_dir: RunDir, name: str) -> str:
    try:
        return run_dir.patch(name).read_text(errors="replace")
    except OSError:
        return f"# changes {name}, which are lost\n"
