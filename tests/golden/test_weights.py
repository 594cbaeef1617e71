"""No network has lost its initial weights, which hashes in records and golden values rest on."""

from __future__ import annotations

import json

import pytest

from tests.golden.protocols import runs_of_today
from tests.golden.weights import FILE, NETWORKS, TOLERANCE, build, fingerprint
from tksbench.recipe.schema import TrainSpec

KEPT = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("key", NETWORKS)
def test_a_network_begins_with_the_weights_it_always_had(key: str) -> None:
    found, kept = fingerprint(build(key)), KEPT[key]
    assert found["names"] == kept["names"]
    norms = kept["numbers"][::2]
    pairs = zip(found["numbers"], kept["numbers"], strict=True)
    allowed = [TOLERANCE * norm for norm in norms for _ in range(2)]
    assert [
        index for index, ((new, old), bound) in enumerate(zip(pairs, allowed, strict=True)) if abs(new - old) > bound
    ] == []


def test_every_width_that_the_protocols_have_of_these_networks_is_among_them() -> None:
    kept = {(options["name"], options["width"]) for options in NETWORKS.values()}
    names = {name for name, _ in kept}
    models = [run.spec.model for run in runs_of_today() if isinstance(run.spec, TrainSpec)]
    assert {(model.name, model.width) for model in models if model.name in names} <= kept
