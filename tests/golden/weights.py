"""Initial weights of the networks, kept as data: `python -m tests.golden.weights` writes those of today.

Of each tensor two numbers, its norm and its product with a fixed vector, hold what all its values are and in which
order; they are compared within rounding, since the last bits of random numbers depend on the processor. Names, shapes
and their order, on which hashes of weights depend, are compared exactly.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import timm
import torch

import tksbench.snn  # noqa: F401 - so that timm has the networks

FILE = Path(__file__).with_name("weights.json")
SEED = 42
TOLERANCE = 1e-6  # of a tensor's norm

# Name, width, classes, channels and side of the input: what the committed protocols' weights depend on. At width 1
# one head for each network.
NETWORKS: dict[str, dict[str, Any]] = {
    f"{name} {width:g} {classes} {side}".removesuffix(" 0"): {"name": name, "width": width, "num_classes": classes}
    | ({"img_size": side, "in_chans": 2} if side else {})
    for name, width, classes, side in (
        *(("spiking_resnet19", *rest, 0) for rest in ((1.0, 10), (0.125, 10), (0.125, 100))),
        *(("sew_resnet19", *rest, 0) for rest in ((1.0, 10), (0.125, 10), (0.125, 100))),
        *(("sew_resnet18", *rest, 0) for rest in ((1.0, 200), (0.125, 120), (0.125, 196), (0.125, 200))),
        *(("sew_resnet34", *rest, 0) for rest in ((1.0, 200), (0.0625, 1000), (0.125, 1000), (0.125, 120))),
        *(("sew_resnet34", *rest, 0) for rest in ((0.125, 196), (0.125, 200))),
        *(("sew_resnet50", *rest, 0) for rest in ((1.0, 1000), (0.125, 1000))),
        *(("vgg_snn", *rest) for rest in ((1.0, 10, 48), (0.125, 10, 32), (0.125, 10, 34), (0.125, 101, 32))),
        *(("vgg_snn", *rest) for rest in ((0.0625, 10, 24), (0.0625, 10, 34), (0.0625, 101, 24))),
    )
}


def fingerprint(network: torch.nn.Module) -> dict[str, Any]:
    """Names, shapes and types of all tensors as a hash; norm and product of each parameter, in their order."""
    names = [f"{name} {tensor.dtype} {list(tensor.shape)}" for name, tensor in network.state_dict().items()]
    numbers = []
    for parameter in network.parameters():
        values = parameter.detach().double().flatten()
        numbers.append(values.norm().item())
        numbers.append(torch.dot(values, torch.arange(len(values), dtype=torch.float64).cos_()).item())
    return {"names": hashlib.sha256("\n".join(names).encode()).hexdigest()[:16], "numbers": numbers}


def build(key: str) -> torch.nn.Module:
    """A network as a run with seed 42 begins with it."""
    options = dict(NETWORKS[key])
    torch.manual_seed(SEED)
    return timm.create_model(options.pop("name"), **options)


if __name__ == "__main__":
    made = {key: fingerprint(build(key)) for key in NETWORKS}
    for part in made.values():
        part["numbers"] = [float(f"{number:.9g}") for number in part["numbers"]]
    lines = [f"{json.dumps(key)}: {json.dumps(part, separators=(',', ':'))}" for key, part in made.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
