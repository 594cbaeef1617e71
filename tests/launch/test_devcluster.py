"""The test cluster: it ends with the processes that it was started for, however they end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import watchdog
from tests.launch.devcluster import ROOT, SCRIPT, until

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(os.geteuid() != 0, reason="slurm/devcluster up needs root")]

OWNER = """\
import os, sys
from tests.launch.devcluster import bring_up

print(bring_up().returncode, flush=True)
sys.stdin.readline()
"""


def daemons(root: Path) -> set[bytes]:
    """What runs of a cluster."""
    found: set[bytes] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"DEVCLUSTER_ROOT={root}".encode() in (folder / "environ").read_bytes().split(b"\0")
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mine:
            found |= {b"slurmctld", b"slurmd", b"guard"} & set(words)
    return found


def own(root: Path) -> subprocess.Popen[str]:
    """A process that has the cluster started for itself."""
    return subprocess.Popen(
        [sys.executable, "-c", OWNER],
        env=watchdog.unmarked() | {"DEVCLUSTER_ROOT": str(root), "DEVCLUSTER_PORT": "23817", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_cluster_ends_with_the_last_process_that_it_was_started_for(tmp_path: Path) -> None:
    first, second = own(tmp_path), own(tmp_path)
    try:
        for owner in (first, second):
            assert owner.stdout is not None
            if owner.stdout.readline().strip() != "0":
                pytest.skip("no Slurm here")
        assert daemons(tmp_path) == {b"slurmctld", b"slurmd", b"guard"}
        first.kill()
        first.wait()
        environment = os.environ | {"DEVCLUSTER_ROOT": str(tmp_path)}
        subprocess.run(["sleep", "2"], check=True)  # the guard looks every second
        assert subprocess.run([SCRIPT, "status"], env=environment, capture_output=True).returncode == 0
        second.kill()
        second.wait()
        until(lambda: not daemons(tmp_path), 60)
    finally:
        first.kill()
        second.kill()
