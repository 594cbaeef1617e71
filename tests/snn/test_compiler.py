"""Building and loading the compiled files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tksbench.snn import native

ROOT = Path(__file__).resolve().parents[2]
ASK = "from tksbench.snn import native; assert native.library() is not None, native.problem()"

needs_compiler = pytest.mark.skipif(native.library() is None, reason="no C compiler: apt-get install gcc")


def load(cache: Path) -> Path:
    """Load the neuron in a process of its own, which a bad library would kill; the library."""
    env = os.environ | {"XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", ASK], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    (path,) = (cache / "tksbench").iterdir()
    return path


@needs_compiler
@pytest.mark.parametrize("kept", [0, 8000])
def test_a_library_of_which_a_part_is_left_is_built_again(tmp_path: Path, kept: int) -> None:
    path = load(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    assert load(tmp_path).stat().st_size == len(whole)


@needs_compiler
def test_a_library_is_built_once(tmp_path: Path) -> None:
    built = load(tmp_path).stat().st_ino
    assert load(tmp_path).stat().st_ino == built
