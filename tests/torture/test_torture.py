"""The short form of `make torture`: the same drivers, fewer rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import faults, launchers
from tests.torture.faults import Faults
from tests.torture.kill import SHORT


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(tmp_path_factory.mktemp("torture"))


@pytest.mark.parametrize("number", range(SHORT))
def test_a_run_that_is_killed_anywhere_ends_as_if_it_had_not_been(world: Faults, number: int) -> None:
    result = world.round(number)
    assert result["kills"]
    assert result["problems"] == []


@pytest.mark.parametrize("name", faults.ALL)
def test_a_fault_is_named_and_heals(world: Faults, name: str) -> None:
    if name in faults.MOUNTS and not faults.can_mount():
        pytest.skip("needs root, to mount a small file system")
    getattr(world, name)()


def test_runs_are_trained_once_by_launchers_without_locks_and_common_clocks(tmp_path: Path) -> None:
    assert launchers.compete(tmp_path, 4, 4) == []


def test_a_holder_elsewhere_keeps_its_run_while_it_lives(tmp_path: Path) -> None:
    assert launchers.leases(tmp_path) == []
