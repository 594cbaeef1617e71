"""Building and loading the compiled files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tksbench.snn import compiler, native

ROOT = Path(__file__).resolve().parents[2]
# The module without its package, which takes twice as long to import as torch alone.
ASK = """
import importlib.util, sys
import torch

spec = importlib.util.spec_from_file_location("compiler", "tksbench/snn/compiler.py")
compiler = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compiler)
library, why = compiler.load("lif", tuple(sys.argv[1:]), "neuron")
assert library is not None, why
"""

FLAGS = native._FLAGS
needs_compiler = pytest.mark.skipif(native.library() is None, reason="no C compiler: apt-get install gcc")


@pytest.fixture(scope="module")
def built() -> Path:
    """The library as this process has built or found it."""
    found, version = compiler._find()
    return compiler._build(Path(compiler.__file__).with_name("lif.c"), found, version, (*compiler._FLAGS, *FLAGS))


def load(cache: Path) -> None:
    """Load the neuron in a process of its own, which a bad library would kill."""
    env = os.environ | {"XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", ASK, *FLAGS]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)


def left(built: Path, cache: Path, kept: int) -> Path:
    """A cache of which the library has its first bytes."""
    path = cache / "tksbench" / built.name
    path.parent.mkdir()
    path.write_bytes(built.read_bytes()[:kept])
    return path


@needs_compiler
@pytest.mark.parametrize("kept", [0, 8000])
def test_a_library_of_which_a_part_is_left_is_built_again(kept: int, built: Path, tmp_path: Path) -> None:
    path = left(built, tmp_path, kept)
    load(tmp_path)
    assert path.stat().st_size == built.stat().st_size
    assert [path] == list(path.parent.iterdir())


@needs_compiler
def test_a_library_is_built_once(built: Path, tmp_path: Path) -> None:
    path = left(built, tmp_path, built.stat().st_size)
    before = path.stat()
    load(tmp_path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path] == list(path.parent.iterdir())
