"""Which code trains: content of files, and what no commit has of them, whatever git is set to overlook."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.runs.checkout import git
from tksbench.runs import code
from tksbench.runs.code import can_change_results, differing, digest_of, read_code, shown, source_files


def test_a_clean_checkout_has_a_commit_and_no_changes(package: Path) -> None:
    found = read_code(package)
    assert found.commit is not None
    assert (len(found.commit), found.dirty, found.changed, found.patch) == (40, False, (), "")
    assert list(found.files) == ["tksbench/__init__.py", "tksbench/snn.py"][1:]  # the first holds the version alone


def test_what_has_changed_and_what_is_new_can_be_laid_over_the_commit(package: Path, tmp_path: Path) -> None:
    (package / "snn.py").write_text("a = 2\n")
    (package / "new.py").write_text("b = 'é'\n")
    found = read_code(package)
    assert (found.dirty, found.changed) == (True, ("tksbench/new.py", "tksbench/snn.py"))
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(package.parent), str(again))
    subprocess.run(["git", "-C", str(again), "apply", "-"], input=found.patch, text=True, check=True)
    assert read_code(again / "tksbench").digest == found.digest


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_that_git_is_set_to_overlook_counts(package: Path, flag: str) -> None:
    git(package.parent, "update-index", flag, "tksbench/snn.py")
    (package / "snn.py").write_text("a = 2\n")
    assert git(package.parent, "diff", "HEAD") == ""
    assert "+a = 2" in read_code(package).patch


def test_an_ignored_module_counts_and_leftovers_do_not(package: Path) -> None:
    (package.parent / ".gitignore").write_text("local_*.py\n")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "second")
    for name in ("README.md", "snn.py.orig", ".snn.py.swp", "snn.py~"):
        (package / name).touch()
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "snn.cpython-311.pyc").touch()
    assert not read_code(package).dirty
    (package / "local_loss.py").write_text("c = 3\n")
    assert read_code(package).changed == ("tksbench/local_loss.py",)
    assert "+c = 3" in read_code(package).patch


def test_a_removed_file_and_a_staged_one_count(package: Path) -> None:
    (package / "snn.py").unlink()
    (package / "staged.py").write_text("")
    git(package.parent, "add", ".")
    assert read_code(package).changed == ("tksbench/snn.py", "tksbench/staged.py")


def test_reading_leaves_the_checkout_as_it_is(package: Path) -> None:
    (package / "new.py").write_text("b = 1\n")
    git(package.parent, "add", "-N", "tksbench/new.py")
    before = git(package.parent, "status", "--porcelain=v2"), git(package.parent, "count-objects")
    read_code(package)
    assert (git(package.parent, "status", "--porcelain=v2"), git(package.parent, "count-objects")) == before


def test_results_and_prose_change_no_code(package: Path) -> None:
    for name in ("results/table1.md", "README.md", "constraints.txt"):
        (package.parent / name).parent.mkdir(exist_ok=True)
        (package.parent / name).touch()
    assert not read_code(package).dirty


def test_other_files_count_where_they_lie_in_the_checkout(package: Path, tmp_path: Path) -> None:
    mine, elsewhere = package.parent / "mine.yaml", tmp_path / "elsewhere.yaml"
    for path in (mine, elsewhere):
        path.write_text("a: 1\n")
    assert read_code(package, [mine, elsewhere, package.parent / "gone.yaml"]).changed == ("mine.yaml",)


@pytest.mark.parametrize("setting", ["diff.noprefix", "diff.mnemonicPrefix", "core.autocrlf", "color.ui"])
def test_a_users_own_settings_of_git_do_not_matter(package: Path, setting: str) -> None:
    git(package.parent, "config", setting, "always" if setting == "color.ui" else "true")
    assert not read_code(package).dirty
    (package / "snn.py").write_text("a = 2\n")
    assert read_code(package).patch.startswith("diff --git a/tksbench/snn.py b/tksbench/snn.py\n")


def test_a_copy_inside_another_checkout_borrows_no_commit(package: Path) -> None:
    copy = package.parent / ".venv" / "tksbench"
    copy.mkdir(parents=True)
    (copy / "__init__.py").touch()
    found = read_code(copy)
    assert (found.commit, found.dirty, found.changed) == (None, None, ())


def test_a_checkout_without_a_commit_has_none(tmp_path: Path) -> None:
    package = tmp_path / "tksbench"
    package.mkdir()
    (package / "__init__.py").touch()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    assert read_code(package).commit is None


def test_no_git_is_no_commit_and_the_files_are_read_all_the_same(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = read_code(package).digest
    monkeypatch.setenv("PATH", "")
    found = read_code(package)
    assert (found.commit, found.dirty, found.digest) == (None, None, digest)


def test_a_slow_git_is_not_waited_for(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def slow(command: list[str], **options: object) -> None:
        asked.append(options["timeout"])
        raise subprocess.TimeoutExpired(command, 20)

    monkeypatch.setattr("subprocess.run", slow)
    assert read_code(package).commit is None
    assert asked == [20]


def test_a_hooks_own_variables_lead_to_no_other_checkout(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(package.parent / "elsewhere"))
    assert read_code(package).commit is not None


def test_the_digest_follows_content_and_names_alone(package: Path) -> None:
    before = read_code(package).digest
    (package / "snn.py").touch()
    assert read_code(package).digest == before
    (package / "snn.py").rename(package / "snn2.py")
    assert read_code(package).digest != before


def test_what_only_shows_or_starts_runs_cannot_change_a_result() -> None:
    inside = ("snn/lif.c", "train/loop.py", "data/splits/ncaltech101_natural.txt", "recipe/schema.py", "new/thing.py")
    assert all(can_change_results(f"tksbench/{path}") for path in (*inside, "metrics.py"))
    outside = (
        "report/page/page.js",
        "launch/plan.py",
        "estimate/model.py",
        "runs/record.py",
        "cli.py",
        "snn/README.md",
    )
    assert not any(can_change_results(f"tksbench/{path}") for path in outside)


def test_everything_that_training_imports_is_watched_or_known_to_change_nothing() -> None:
    """By the text of the modules: what a watched module imports is watched, or does not compute."""
    import ast

    top = code.PACKAGE.parent
    paths = [path for path in source_files() if path.endswith(".py")]
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in paths}
    unwatched = set()
    for path in filter(can_change_results, paths):
        for node in ast.walk(ast.parse((top / path).read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [f"{node.module}.{alias.name}" for alias in node.names] if names else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            unwatched |= {modules[name] for name in names if name in modules and not can_change_results(modules[name])}
    plain = (
        "tksbench/__init__.py",
        "tksbench/atomic.py",
        "tksbench/progress.py",
        "tksbench/cli.py",
        "tksbench/errors.py",
        "tksbench/exits.py",
        "tksbench/process.py",
        "tksbench/runs/",
    )
    assert not [path for path in unwatched if not path.startswith(plain)]


def test_what_differs_is_named_by_path() -> None:
    first, second = {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "0", "d": "4"}
    assert differing(first, second) == ("b", "c", "d")
    assert digest_of(first) != digest_of(second)
    paths = [f"tksbench/{name}" for name in ("snn/b.py", "snn/a.py", "train/c.py", "d.py", "e.py")]
    assert shown(paths) == "5 files: d.py, e.py, snn/ (2), train/ (1)"
    assert shown(paths[:2]) == "snn/a.py, snn/b.py"


def test_what_has_changed_since_a_commit_is_named(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "PACKAGE", package)
    first = git(package.parent, "rev-parse", "HEAD").strip()
    for name in ("snn.py", "added.py", "cli.py", "README.md"):
        (package / name).write_text("z = 1\n")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "second")
    (package / "untracked.py").touch()
    for cached in (code.changed_since, code._changed_here):
        cached.cache_clear()
    try:
        assert code.changed_since(first) == ("tksbench/added.py", "tksbench/snn.py", "tksbench/untracked.py")
        assert code.changed_since("f" * 40) is None
    finally:
        for cached in (code.changed_since, code._changed_here):
            cached.cache_clear()


def test_a_commit_that_was_amended_is_on_no_branch(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "PACKAGE", package)
    commits = []
    for words in (("-m", "second"), ("-m", "amended", "--amend")):
        (package / "snn.py").write_text(f"a = {len(commits) + 2}\n")
        git(package.parent, "commit", "-q", "-a", *words)
        commits.append(git(package.parent, "rev-parse", "HEAD").strip())
    assert [code.on_a_branch(commit) for commit in (*commits, "f" * 40)] == [False, True, None]
