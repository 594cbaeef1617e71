"""What a finished run tells: the parts of its record."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, cast

import torch

from tksbench.data.base import balanced_subset
from tksbench.recipe.schema import CustomMethod
from tksbench.runs.attempts import now, read_attempts, trained_by
from tksbench.runs.files import read_jsonl, sha256_file
from tksbench.runs.provenance import collect_provenance, cpu_name, rerun_command
from tksbench.runs.record import is_attempt, pack_correct
from tksbench.snn.cost import measure_cost
from tksbench.train.checkpoint import weights_digest
from tksbench.train.evaluate import to_device
from tksbench.train.features import write_features
from tksbench.train.rebinned import rebinned_accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tksbench.recipe import Run
    from tksbench.runs.paths import RunDir
    from tksbench.snn.layers import SpikingNetwork
    from tksbench.train.loop import Trainer

COST_SAMPLES = 128  # test samples, of all classes alike, over which spike rates are averaged


def record_parts(run: Run, run_dir: RunDir, trainer: Trainer, code: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All parts of the record of a run whose training is over.

    Args:
        run: The run.
        run_dir: Where its files are.
        trainer: What has trained it.
        code: What `code_state` said when the training code was imported; None for now.
    """
    last, best, right_last, right_best = trainer.results()
    rows = read_jsonl(run_dir.metrics)
    columns = ("epoch", "lr", "train_loss", "train_top1", "test_top1", "test_top1_halves")
    log = [row for row in read_attempts(run_dir) if is_attempt(row)]  # history alone: a damaged row stops nothing
    started = next((row["time"] for row in log if row.get("event") == "start"), now())
    files = (
        run_dir.logits_last,
        run_dir.logits_best,
        run_dir.labels,
        run_dir.metrics,
        run_dir.losses,
        write_features(trainer),
        *((run_dir.method,) if isinstance(run.spec.method, CustomMethod) else ()),
    )
    threads = torch.get_num_threads()
    identity = {key: getattr(run, key) for key in ("id", "group", "name", "recipe", "scale", "seed")}
    return {
        **identity,
        "spec": run.spec.model_dump(mode="json"),
        "overrides": list(run.overrides),
        "metrics": {
            "last": last | {"top1_rebinned": rebinned_accuracy(trainer, last["top1"])},
            "best": best,
            "curve": {column: [row[column] for row in rows] for column in columns},
        },
        "test": {
            "n": len(right_last),
            "correct_last": pack_correct(right_last.tolist()),
            "correct_best": pack_correct(right_best.tolist()),
        },
        "attempts": log,
        "cost": _cost(trainer),
        "provenance": collect_provenance(
            command=rerun_command(run, threads if trainer.device.type == "cpu" else None),
            started=started,
            finished=now(),
            devices=trainer.parallel.device_names(trainer.device),
            processes=trainer.parallel.size,
            nodes=trainer.parallel.nodes,
            data=trainer.data.manifest,
            threads=threads,
            code=code,
            trained_by=trained_by(log),
        ),
        "weights_sha256": weights_digest(trainer.model),
        "files": {path.name: sha256_file(path) for path in files},
    }


def _cost(trainer: Trainer) -> dict[str, Any]:
    """Time of training over all attempts that left a checkpoint, and the network's own cost."""
    state, device = trainer.state, trainer.device
    hours = state.seconds / 3600
    # Test halves are often sorted by class: the first samples would be of one kind.
    keys = [(0, index) for index in balanced_subset(trainer.data.test.labels, COST_SAMPLES)[:COST_SAMPLES].tolist()]
    sample = to_device(trainer.data.test.__getitems__(keys)[0], device)
    return {
        "hours": hours,
        "gpu_hours": state.gpu_seconds / 3600,
        "images_per_s": state.images / state.seconds if state.seconds else None,
        "device": (trainer.parallel.device_names(device) or [cpu_name() or platform.machine()])[0],
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "snn": measure_cost(cast("SpikingNetwork", trainer.model), sample) | {"samples": len(keys)},
    }
