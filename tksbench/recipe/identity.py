"""What makes two runs the same run: the hash of the fully resolved spec."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tksbench.recipe.schema import RunSpec

# Bumped by hand when the component's results change for an equal spec; a component not listed is at 1.
# The git commit is provenance, never identity: a reworded comment must not retrain a network.
COMPONENT_VERSIONS: dict[str, int] = {}

# Made once: thousands of records are hashed when tables are built.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def component_versions(components: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The versions above 1 of the components that a run is made of, given the slot and name of each."""
    names = ("train", "neuron", *(f"{slot}/{name}" for slot, name in components))
    return {name: COMPONENT_VERSIONS[name] for name in names if name in COMPONENT_VERSIONS}


def canonical(value: Any) -> str:
    """JSON with one spelling for each value: sorted keys, no spaces, floats by shortest repr."""
    return _ENCODER.encode(value)


def _hash(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def run_id(spec: RunSpec) -> str:
    """16 hex digits that name this run and no other.

    Values at their schema default stay out of the hash, so that a new field whose default is the old
    behaviour keeps every id. The price is that a default may never change its value: a test pins them.
    """
    return _hash(spec.model_dump(mode="json", exclude_defaults=True))


def run_and_group_id(spec: RunSpec) -> tuple[str, str]:
    """`run_id` and `group_id` at once: for thousands of records half the time counts."""
    plain = spec.model_dump(mode="json", exclude_defaults=True)
    return _hash(plain), _hash({"group": _without_seed(plain)})


def group_id(spec: RunSpec) -> str:
    """16 hex digits shared by the runs that differ in their seed alone."""
    return run_and_group_id(spec)[1]


def _without_seed(plain: dict[str, Any]) -> dict[str, Any]:
    """A spec without its seed, which is its parent's too."""
    rest = {key: value for key, value in plain.items() if key != "seed"}
    if "start" in rest:
        rest["start"] = {**rest["start"], "run": _without_seed(rest["start"]["run"])}
    return rest
