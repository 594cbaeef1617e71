"""What a process has loaded: packages as they were installed, and no older form of an edited file."""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import sys
from pathlib import Path

import pytest

from tksbench.train import loaded
from tksbench.train.errors import TrainError
from tksbench.train.loaded import edited_packages, stale_bytecode
from tksbench.train.origin import Witness

SOURCE = "factor = 1\n"


def stated(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with one of two modules, of which the first is loaded, and a library."""
    package, about = tmp_path / "their_package", tmp_path / "their_package-1.0.dist-info"
    files = {"__init__.py": SOURCE, "other.py": SOURCE, "libtheirs.so.2": "machine code"}
    for folder in (package, about):
        folder.mkdir()
    for name, text in files.items():
        (package / name).write_text(text)
    rows = [f"their_package/{name},sha256={stated(text.encode())},{len(text)}" for name, text in files.items()]
    (about / "RECORD").write_text("\n".join([*rows, "their_package-1.0.dist-info/RECORD,,"]))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their_package\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("their_package")
    for kept in (loaded._record, loaded._digest):
        kept.cache_clear()
    yield package  # type: ignore[misc]
    sys.modules.pop("their_package")


def test_an_installed_file_that_was_edited_is_named_once_it_is_loaded(installed: Path) -> None:
    assert edited_packages(["their_package", "not_installed"]) == {}
    (installed / "other.py").write_text("factor = 2\n")  # which this process has not loaded
    assert edited_packages(["their_package"]) == {}
    (installed / "__init__.py").write_text("factor = 2\n")
    loaded._digest.cache_clear()
    ((name, content),) = edited_packages(["their_package"]).items()
    assert name.endswith("their_package/__init__.py of their_package, edited since it was installed")
    assert content == hashlib.sha256(b"factor = 2\n").hexdigest()[:16]


def test_a_compiled_library_of_another_size_is_named(installed: Path) -> None:
    (installed / "libtheirs.so.2").write_text("other machine code")
    (name,) = edited_packages(["their_package"])
    assert "libtheirs.so.2 of their_package" in name


def test_what_conda_has_installed_is_passed_over(installed: Path) -> None:
    (installed / "libtheirs.so.2").write_text("the same with other paths in it")
    (installed.parent / "their_package-1.0.dist-info" / "INSTALLER").write_text("conda\n")
    assert edited_packages(["their_package"]) == {}


def test_the_packages_of_these_tests_are_as_they_were_installed() -> None:
    assert edited_packages() == {}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package's file that Python has compiled and kept, and that is loaded."""
    package = tmp_path / "tksbench_of_this_test"
    package.mkdir()
    (package / "__init__.py").touch()
    path = package / "losses.py"
    path.write_text("factor = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    importlib.import_module(f"{package.name}.losses")
    yield path  # type: ignore[misc]
    for name in (package.name, f"{package.name}.losses"):
        sys.modules.pop(name)


def rewrite(path: Path, text: str) -> None:
    """Write a file as if it were in the second of its last change."""
    times = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(times, times))


def test_code_that_was_edited_and_taken_back_within_a_second_does_not_train_as_what_it_is_now(source: Path) -> None:
    witness = Witness(source.parent)
    witness.check_compiled()
    rewrite(source, SOURCE)
    del sys.modules[f"{source.parent.name}.losses"]
    assert importlib.import_module(f"{source.parent.name}.losses").factor == 2  # this is what Python does
    with pytest.raises(TrainError, match=r"an older form of code that was edited; remove it: rm \S+losses\S+\.pyc$"):
        witness.check_compiled()


def test_a_file_that_was_edited_later_or_only_touched_is_compiled_anew(source: Path) -> None:
    rewrite(source, "factor = 2\n")  # what git does that takes a change back and forth
    assert stale_bytecode([str(source)]) == []
    source.write_text(SOURCE)
    os.utime(source, (1, 1))
    assert stale_bytecode([str(source), str(source.with_name("none.py"))]) == []
