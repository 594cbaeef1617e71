"""Every command that README.md and the documentation show works: cheap ones as written, others as far as is cheap."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tksbench.data import registry
from tksbench.recipe import RunSpec
from tksbench.runs.record import load_record

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [page for room in ("tksbench", "slurm", "benchmarks") for page in sorted((ROOT / room).rglob("README.md"))]
BLOCK = re.compile(r"^```(console|sh|shell|bash)\b[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = [sys.executable, "-m"]
DATA_IS_MISSING = {0, 1}  # exit statuses of `data verify` on a machine without the data


def shown() -> list[tuple[str, str]]:
    """Page and command: each line of a console block, once."""
    found: dict[str, str] = {}
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text()):
            for line in block[2].replace("\\\n", " ").splitlines():
                command = line.removeprefix("$ ").strip()
                if command:
                    found.setdefault(command, str(page.relative_to(ROOT)))
    return [(page, command) for command, page in found.items()]


COMMANDS = shown()


def cheap(command: str) -> tuple[list[str], set[int]]:
    """What is run in a command's place, and the exit statuses that are right.

    Raises:
        AssertionError: For a command that nothing here knows: it would be outside the test.
    """
    words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
    if words[0] == "make":
        return ["make", "--dry-run", "PYTHON=true", *shlex.split(command, comments=True)[1:]], {0}
    if words[:2] == ["git", "clone"]:
        here = command.replace("<this repository>", f"-q {shlex.quote(str(ROOT))}")
        folder = "" if "tksbench &&" in here else " tksbench"  # what its last part would give
        return ["bash", "-c", f'cd "$(mktemp -d -p .)" && {here.replace(" &&", folder + " &&")} && ls Makefile'], {0}
    if words[0] == "slurm/devcluster":
        return ["bash", "-n", str(ROOT / words[0])], {0}
    if words[0] in ("eval", "for", "source"):
        return ["bash", "-n", "-c", command], {0}
    if words[0] in ("squeue", "export"):
        return ["true"], {0}
    assert words[:2] == ["python", "-m"], f"teach tests/test_docs.py to run: {command}"
    module, every = words[2], sorted(f"recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml"))
    rest = [path for word in words[3:] for path in (every if word == "recipes/*.yaml" else [word])]  # as the shell does
    if module == "tksbench.launch":
        if "--cancel" in rest:  # without a job there is nothing to cancel; without Slurm that is what it says
            return [*PYTHON, module, *rest], {0, 1, 2}
        if "--status" in rest and rest[0] != "--status":  # --watch would wait until that recipe is trained
            return [*PYTHON, module, *(word for word in rest if word != "--watch")], {0}
        rest = ["--plan" if word == "--rehearse" else word for word in rest]  # which would train
        plan = [] if {"--plan", "--status"} & set(rest) else ["--plan"]
        return [*PYTHON, module, *rest, *plan], {0}
    if rest[:1] == ["compare"]:  # 1: what the lines above it train is not there
        return [*PYTHON, module, *rest], {0, 1}
    if module in ("tksbench.tables", "tksbench.report", "tksbench.diff"):
        return [*PYTHON, module, *rest], {1} if module.endswith("diff") else {0}
    if module == "tksbench.rerun":  # would train: that its record can be found, by comparing it with itself
        return [*PYTHON, "tksbench.diff", *rest, *rest], {0}
    if module == "tksbench.data":
        if rest[0] == "twin":  # of CIFAR-10, which is not there
            return [*PYTHON, module, *rest], {2}
        action = "verify" if rest[0] == "prepare" else rest[0]  # prepare would download
        return [*PYTHON, module, action, *rest[1:]], DATA_IS_MISSING if action == "verify" else {0}
    assert module in ("tksbench.doctor", "benchmarks"), f"teach tests/test_docs.py to run: {command}"
    return [*PYTHON, module, *rest, "--help"], {0}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the commands read and write, with the files that the pages tell people to write."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("recipes", "slurm", ".ci"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("records", "tables"):
        shutil.copytree(ROOT / "results" / name, root / "results" / name)
    for name in ("results/paper.yaml", "Makefile", "constraints.txt", "constraints-extras.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    (root / "data").mkdir()
    written = [("add-a-cluster.md", "yaml"), ("add-a-method.md", "python")]
    pages = ["a-data-set", "an-augmentation", "a-neuron", "a-norm", "a-network", "an-optimizer"]
    pages += ["a-conversion", "a-classifier"]
    written += [(f"add-{page}.md", kind) for page in pages for kind in ("python", "yaml")]
    for page, kinds in written:
        for title, content in titled(ROOT / "docs" / "how-to" / page, kinds):
            (root / title).write_text(content)
    recipe = root / "recipes" / "cifar10.yaml"
    (_, entry), *_ = titled(ROOT / "docs" / "how-to" / "add-a-method.md", "yaml")
    recipe.write_text(recipe.read_text().replace("\nruns:\n", f"\nruns:\n{entry}", 1))
    return root


def titled(page: Path, language: str) -> list[tuple[str, str]]:
    """File name and content of the blocks that say which file they are."""
    return re.findall(rf'^```{language} title="([^"]*)"\n(.*?)^```$', page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{command[:60]}" for page, command in COMMANDS])
def test_a_command_that_is_shown_works(page: str, command: str, checkout: Path) -> None:
    words, right = cheap(command)
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("TKSBENCH_", "SLURM_"))}
    if "--verify" in words:  # on its own, without the line above it
        (checkout / words[-1]).unlink(missing_ok=True)
        subprocess.run([*words[:-2], "--pack", words[-1]], cwd=checkout, env=environment(outside), check=True)
    if "--pack" in words:
        (checkout / words[-1]).unlink(missing_ok=True)
    where = ROOT if "--check" in words else checkout  # which has an entry more than its tables, unless they are rebuilt
    done = subprocess.run(words, cwd=where, env=environment(outside), capture_output=True, text=True, timeout=120)
    assert done.returncode in right, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def environment(outside: dict[str, str]) -> dict[str, str]:
    return outside | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 80
    assert max(len(line) for line in lines if not line.startswith("|")) <= 120


def test_every_link_of_a_page_leads_somewhere_in_a_checkout() -> None:
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page}: {target}"
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\b((?:docs|slurm|recipes)/[a-z0-9/_.-]+\.(?:md|yaml))\b", text):
        assert (ROOT / target).exists(), target


def test_the_record_that_the_readme_trains_again_needs_no_data_and_no_patience() -> None:
    (begin,) = re.findall(r"tksbench\.rerun (\w+)", (ROOT / "README.md").read_text())
    (path,) = (ROOT / "results" / "records").glob(f"{begin}*.json")
    record = load_record(path)
    assert (record.scale, record.spec.data.source) == ("smoke", "miniature")
    assert record.provenance.commit and record.provenance.dirty is False


def test_the_pages_show_commands_and_the_test_sees_them() -> None:
    assert len(COMMANDS) > 30
    assert {page for page, _ in COMMANDS} >= {"README.md", "docs/tutorial.md", "docs/how-to/add-a-method.md"}
    for page in PAGES:  # a block without a language would hide its commands
        for opening in re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)[::2]:
            assert opening, f"{page}: a code block without a language"


def test_the_data_set_of_the_how_to_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((title, source),) = titled(ROOT / "docs" / "how-to" / "add-a-data-set.md", "python")
    (tmp_path / title).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    name = "mydigits:Digits"
    spec = RunSpec.model_validate(
        {
            "data": {"name": name, "source": "stand-in", "augment": "plain"},
            "model": {"name": "spiking_resnet19", "T": 4},
            "method": {"name": "baseline"},
            "optim": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "epochs": 9, "batch_size": 10},
        }
    )
    data = registry.load(spec.data, T=4, seed=42, root=tmp_path)
    images, labels = data.train.__getitems__([(0, 0), (0, 1)])
    assert (list(images.shape), len(data.train), len(data.test)) == ([2, 3, 32, 32], 1500, 297)
    assert labels.tolist() == [0, 1]
    assert [status.state for status in registry.reader(name).verify(tmp_path / "miniature")] == ["ok"]
    assert (registry.info(name).title, registry.info(name).augmentations) == ("My digits", ("plain", "none"))
    with pytest.raises(ValueError, match=r"augment 'dvs' is not for mydigits:Digits; it has plain, none"):
        RunSpec.model_validate(spec.model_dump() | {"data": spec.data.model_dump() | {"augment": "dvs"}})


def test_the_documentation_builds_without_a_warning_and_asks_for_no_network(tmp_path: Path) -> None:
    if not find_spec("mkdocstrings"):
        pytest.skip("no mkdocs here: make docs installs it")
    command = [*PYTHON, "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    clean = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="?(https?:[^" >]*)', page.read_text())
        assert fetched == [], page
    assert "<code>alpha</code>" in (tmp_path / "reference" / "recipe.html").read_text()
    assert "tksbench.snn.losses.tks" in (tmp_path / "reference" / "python.html").read_text()


def test_readme_and_docs_show_what_the_records_say() -> None:
    command = [sys.executable, ".ci/shown.py", "--check"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
