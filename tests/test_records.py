"""The records that are committed: each of a commit that is in the history, without changes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout


def test_every_committed_record_is_of_a_clean_commit_of_this_history() -> None:
    try:
        names, shallow = git("ls-files", "results/records").split(), git("rev-parse", "--is-shallow-repository")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    assert names
    proofs = {name: json.loads((ROOT / name).read_text())["provenance"] for name in names}
    assert [name for name, proof in proofs.items() if proof["dirty"] is not False or proof["diff"]] == []
    if shallow.strip() == "true":
        pytest.skip("a shallow clone: without the commits of the records")
    history = set(git("rev-list", "HEAD").split())
    assert [name for name, proof in proofs.items() if proof["commit"] not in history] == []
