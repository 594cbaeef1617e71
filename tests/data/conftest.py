"""Fixtures of the data room: one set of static miniatures for the whole session, and specs by keyword."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tksbench.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Callable

STATIC = ("cifar10", "cifar100", "imagenet", "cub", "dogs", "cars")
AUGMENT = {"cifar10": "strong", "cifar100": "strong", "imagenet": "imagenet"}


@pytest.fixture(scope="session")
def static_root(stand_in: Callable[..., Path]) -> Path:
    """A data root with all static miniatures; read-only by agreement."""
    return stand_in(*STATIC)


@pytest.fixture
def make_spec() -> Callable[..., DataSpec]:
    def make(name: str, **values: Any) -> DataSpec:
        defaults = {"source": "miniature", "augment": AUGMENT.get(name, "finegrained")}
        return DataSpec(name=name, **(defaults | values))

    return make


@pytest.fixture(scope="session")
def samples() -> Path:
    """The real sample files: TKSBENCH_SAMPLES, else beside the repository."""
    path = Path(os.environ.get("TKSBENCH_SAMPLES", Path(__file__).parents[3] / "shared" / "data" / "samples"))
    if not path.is_dir():
        pytest.skip("no sample files here: set TKSBENCH_SAMPLES")
    return path
