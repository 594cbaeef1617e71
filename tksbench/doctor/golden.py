"""Twenty steps of training whose losses are known: does this installation compute what it should?

A small spiking ResNet-19 learns two batches of scikit-learn's digits with the TKS loss, in float32, on the CPU and one
thread, with SGD. Every step's loss must be that of golden.json within `TOLERANCE`. Between instruction sets (SSE4.1,
AVX2, AVX-512) the losses differ by some 3e-7; a learning rate that is wrong by a tenth differs by more than the
tolerance. (AdamW would not do: it turns rounding errors of tiny gradients into whole steps.)

Only a change that is meant to alter results (of the network, its initial weights, the neuron, the loss or SGD) may
renew the values; say so in the commit, and bump the component's version in the recipes' identity:

    python -m tksbench.doctor.golden        # writes golden.json anew
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.doctor.findings import Finding

if TYPE_CHECKING:
    from tksbench.recipe import TrainSpec

TOLERANCE = 1e-4  # relative, each step
_FILE = Path(__file__).with_name("golden.json")
_STEPS, _BATCH, _BATCHES = 20, 32, 2


def spec(lr: float = 0.5) -> TrainSpec:
    """What is trained."""
    from tksbench.recipe import TrainSpec

    return TrainSpec.model_validate(
        {
            "data": {"name": "cifar10", "augment": "none"},
            "model": {"name": "spiking_resnet19", "T": 4, "width": 0.125},
            "method": {"name": "tks", "schedule": "linear_iter"},
            "optim": {
                "name": "sgd", "lr": lr, "weight_decay": 0.0, "epochs": 1, "warmup_epochs": 0, "batch_size": _BATCH,
            },
        }
    )  # fmt: skip


def losses(run: TrainSpec) -> list[float]:
    """Loss of each step."""
    import torch
    from sklearn.datasets import load_digits

    from tksbench.train import build
    from tksbench.train.objective import build_objective

    torch.set_num_threads(1)
    digits = load_digits()
    count = _BATCH * _BATCHES
    grey = torch.from_numpy(digits.images[:count] / 16).float()
    larger = grey.repeat_interleave(2, 1).repeat_interleave(2, 2)  # 16 pixels
    images = larger[:, None].expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(digits.target[:count])
    model = build.build_model(run, num_classes=10, in_chans=3, device=torch.device("cpu")).train()
    optimizer = build.build_optimizer(run, model)
    objective = build_objective(run, _STEPS)
    made = []
    for step in range(_STEPS):
        start = _BATCH * (step % _BATCHES)
        batch = slice(start, start + _BATCH)
        loss, _logits = objective(model, images[batch], labels[batch], **objective.constants(0, step))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        made.append(loss.item())
    return made


def judge(made: list[float], expected: list[float]) -> Finding:
    """Compare losses with the golden ones, step by step."""
    errors = [abs(got - want) / abs(want) for got, want in zip(made, expected, strict=True)]
    step = next((step for step, error in enumerate(errors) if not error <= TOLERANCE), None)  # NaN is an error, too
    if step is None:
        detail = f"{len(made)} steps as they should be, within {max(errors):.0e} (allowed {TOLERANCE:.0e})"
        return Finding("training", "ok", detail)
    detail = f"step {step}: loss {made[step]:.6f}, should be {expected[step]:.6f} (allowed {TOLERANCE:.0e} relative)"
    advice = "results from here would not be comparable: install the pinned versions (make env); else report it"
    return Finding("training", "FAILED", detail, advice)


def training() -> list[Finding]:
    """Train and compare."""
    return [judge(losses(spec()), json.loads(_FILE.read_text())["losses"])]


def main() -> None:
    """Write golden.json anew."""
    import torch

    content = {"torch": torch.__version__.partition("+")[0], "losses": [round(loss, 7) for loss in losses(spec())]}
    _FILE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
