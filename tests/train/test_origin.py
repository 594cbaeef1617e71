"""By what a process trains: files as it loaded them, modules from elsewhere, other processes' code."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest
import torch

from tests.runs.checkout import git, make_package
from tksbench.runs.code import Code
from tksbench.runs.processor import PORTABLE, is_portable
from tksbench.snn import native
from tksbench.train import origin
from tksbench.train.errors import TrainError
from tksbench.train.machine import describe_machine
from tksbench.train.origin import Witness, attempt_origin, check_same_code
from tksbench.train.parallel import ALONE, OneProcess


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of which `snn` is loaded, and `later` is not."""
    package = make_package(tmp_path / "checkout")
    (package / "later.py").write_text("b = 1\n")
    (package / "lif.c").write_text("int a;\n")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "second")
    load(package, "snn", monkeypatch)
    return package


def load(package: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(f"tksbench.of_this_test_{name}")
    module.__file__ = str(package / f"{name}.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)


def rewrite(path: Path, text: str | None = None) -> None:
    """Write a file, or the same content once more, later than it was."""
    path.write_text(path.read_text() if text is None else text)
    os.utime(path, ns=(path.stat().st_mtime_ns + 10**9,) * 2)


def test_what_is_edited_once_it_is_loaded_changes_nothing(package: Path) -> None:
    witness = Witness(package)
    rewrite(package / "snn.py", "a = 2\n")
    assert witness.look() == []
    assert witness.code.dirty is False


def test_what_is_edited_and_never_loaded_changes_nothing(package: Path) -> None:
    witness = Witness(package)
    rewrite(package / "later.py", "b = 2\n")
    assert witness.look() == []


def test_what_is_edited_before_it_is_loaded_is_named_also_if_it_is_taken_back(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = Witness(package)
    rewrite(package / "later.py")  # with the same content, as after an edit that is taken back
    load(package, "later", monkeypatch)
    assert witness.look() == ["tksbench/later.py"]
    assert witness.look() == ["tksbench/later.py"]


def test_what_is_loaded_in_time_may_be_edited_later(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = Witness(package)
    load(package, "later", monkeypatch)
    assert witness.look() == []
    rewrite(package / "later.py", "b = 2\n")
    assert witness.look() == []


def test_c_code_and_what_workers_load_counts_at_any_time(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "_WORKERS_LOAD", ("tksbench/snn.py",))
    witness = Witness(package)
    rewrite(package / "snn.py", "a = 2\n")
    assert witness.look() == []
    assert witness.look(workers=True) == ["tksbench/snn.py"]
    rewrite(package / "lif.c", "int b;\n")
    assert witness.look() == ["tksbench/lif.c", "tksbench/snn.py"]


def test_a_module_from_elsewhere_is_named_and_one_of_the_checkout_counts_by_its_commit(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "PACKAGE", package)
    monkeypatch.setattr(origin, "read_code", lambda one=package, others=(): real(one, others))
    witness = Witness(package)
    committed, untracked, elsewhere = package.parent / "ours.py", package.parent / "mine.py", tmp_path / "theirs.py"
    for path in (committed, untracked, elsewhere):
        path.write_text("c = 1\n")
        module = types.ModuleType(path.stem)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, path.stem, module)
    git(package.parent, "add", "ours.py")
    git(package.parent, "commit", "-q", "-m", "third")
    witness.code = real(package)
    assert sorted(witness.strays()) == ["mine", "ours", "theirs"]
    row, code = attempt_origin(witness, Path("r.yaml"), torch.device("cpu"), ALONE, {"A": "1"})
    assert list(row["setup"]["outside"]) == ["theirs"]
    assert (row["dirty"], code.changed, "+c = 1" in code.patch) == (True, ("mine.py",), True)
    assert (row["setup"]["environment"], row["setup"]["processes"]) == ({"A": "1"}, 1)
    assert row["setup"]["devices"] == [row["setup"]["machine"]["processor"]]


real = origin.read_code


def test_packages_of_a_clusters_modules_are_installed_and_others_have_one_digest(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mine", types.ModuleType("mine"))  # loaded before, and another one afterwards
    witness = Witness(package)
    for name, folder in (("numpy_of_the_cluster", "apps/lib/site-packages"), ("mine", "src"), ("mine.part", "src")):
        module = types.ModuleType(name)
        module.__file__ = str(tmp_path / folder / f"{name}.py")
        Path(module.__file__).parent.mkdir(parents=True, exist_ok=True)
        Path(module.__file__).write_text(name)
        monkeypatch.setitem(sys.modules, name, module)
    strays = witness.strays()
    assert sorted(strays) == ["mine", "mine.part"]
    assert list(origin._by_package(strays)) == ["mine"]


def test_what_an_interpreter_begins_with_counts_although_it_was_loaded_before(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sitecustomize", "statistics", "harness_of_this_test"):
        module = types.ModuleType(name)
        module.__file__ = str(tmp_path / "site-packages" / f"{name}.py")
        Path(module.__file__).parent.mkdir(exist_ok=True)
        Path(module.__file__).touch()
        monkeypatch.setitem(sys.modules, name, module)
    assert sorted(Witness(package).strays()) == ["sitecustomize", "statistics"]


@pytest.mark.parametrize(("instructions", "bits"), [("AVX2", PORTABLE), ("AVX512", None)])
def test_bits_are_those_of_every_processor_only_where_torchs_own_kernels_are(
    package: Path, monkeypatch: pytest.MonkeyPatch, instructions: str, bits: str | None
) -> None:
    described = {"processor": "Z80", "instructions": instructions}
    monkeypatch.setattr("tksbench.train.machine.describe_machine", lambda *words: dict(described))
    row, _ = attempt_origin(Witness(package), Path("r.yaml"), torch.device("cpu"), ALONE, {}, portable=True)
    assert row["setup"]["machine"].get("bits") == bits
    assert is_portable(row["setup"]["machine"]) == bool(bits)


def test_all_processes_have_the_leading_ones_code() -> None:
    class Second(OneProcess):
        rank = 1

        def from_lead(self, make):  # type: ignore[no-untyped-def]
            return {"tksbench/snn/losses.py": "1"}

    check_same_code(Second(), Code({"tksbench/snn/losses.py": "1"}))
    with pytest.raises(TrainError, match=r"process 1 has other code than process 0 \(snn/losses.py\): install"):
        check_same_code(Second(), Code({"tksbench/snn/losses.py": "2"}))


def test_a_machine_is_described_by_what_computes() -> None:
    found = describe_machine(torch.device("cpu"), {"ONEDNN_MAX_CPU_ISA": "SSE41"})
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert found.get("onednn_isa", "SSE41") == "SSE41"
    assert found["torch_build"].startswith((torch.version.git_version or "")[:12])
    assert "oneDNN" in found["libraries"]
    assert found["compiler"] != "none" or native.library() is None
    assert all(isinstance(value, str) and value for value in found.values())
