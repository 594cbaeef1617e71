"""How-tos for layers, a network, a conversion and an optimizer: their files are trained outside the checkout.

Once as files that lie there, once as an installed package of one's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_docs import ROOT, titled

PAGES = {
    "a-neuron": "adaptive",
    "a-norm": "stepwise",
    "a-network": "tinynet",
    "a-conversion": "robust",
    "an-optimizer": "lion",
}
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "mine"
version = "1"

[tool.setuptools]
packages = ["mine"]
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Path]]:
    """Record and folder of each run, by its name; all of one command, so that torch is loaded once."""
    folder, project = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("project")
    (folder / "data").mkdir()
    (project / "mine").mkdir()
    (project / "mine/__init__.py").touch()
    (project / "pyproject.toml").write_text(PROJECT)
    recipes = []
    for page, name in PAGES.items():
        ((title, code),) = titled(ROOT / f"docs/how-to/add-{page}.md", "python")
        ((recipe, text),) = titled(ROOT / f"docs/how-to/add-{page}.md", "yaml")
        assert (title, recipe) == (f"{name}.py", f"{name}.yaml")
        (folder / title).write_text(code)
        (folder / recipe).write_text(text)
        recipes.append(recipe)
    (project / "mine/net.py").write_text((folder / "tinynet.py").read_text())
    packaged = (folder / "tinynet.yaml").read_text().replace("tinynet:", "mine.net:").replace("tinynet/", "packaged/")
    (folder / "packaged.yaml").write_text(packaged)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(folder / "installed"), str(project)], check=True, capture_output=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TKSBENCH_")}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder / 'installed'}", "COLUMNS": "80"}
    command = [sys.executable, "-m", "tksbench.launch", *recipes, "packaged.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for path in folder.glob("results/runs/*/record.json"):
        record = json.loads(path.read_text())
        found[record["name"]] = (record, path.parent)
    return found


@pytest.mark.parametrize(
    ("run", "file"),
    [
        ("adaptive/adaptive.AdaptiveLIF/tks", "model.neuron.py"),
        ("stepwise/spiking_resnet19/tks", "model.norm.py"),
        ("tinynet/2/tks", "model.py"),
        ("packaged/2/tks", "model.py"),
        ("robust/converted", "start.convert.py"),
        ("lion/spiking_resnet19/baseline", "optim.py"),
        ("lion/spiking_resnet19/baseline", "optim.schedule.py"),
    ],
)
def test_what_a_page_shows_is_trained_and_kept_beside_its_record(
    records: dict[str, tuple[dict[str, Any], Path]], run: str, file: str
) -> None:
    record, folder = records[run]
    assert file in record["files"]
    assert "class " in (folder / file).read_text()


def test_parameters_of_the_recipe_arrive(records: dict[str, tuple[dict[str, Any], Path]]) -> None:
    neuron = records["adaptive/adaptive.AdaptiveLIF/tks"][0]["spec"]["model"]["neuron"]
    assert (neuron["name"], neuron["kwargs"]) == ("adaptive:AdaptiveLIF", {"rise": 0.2})
    assert records["tinynet/2/tks"][0]["spec"]["model"]["kwargs"] == {"depth": 2}
    record, folder = records["lion/spiking_resnet19/baseline"]
    assert record["spec"]["optim"]["kwargs"] == {"beta2": 0.95}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["lr"] for row in rows] == [1e-6, 2e-3, 1e-3]


def test_a_file_of_ones_own_and_an_installed_one_learn_the_same(
    records: dict[str, tuple[dict[str, Any], Path]],
) -> None:
    own, installed = (records[f"{name}/2/tks"][0] for name in ("tinynet", "packaged"))
    assert own["metrics"]["last"]["top1"] > 30  # of ten classes
    assert own["weights_sha256"] == installed["weights_sha256"]
    assert own["id"] != installed["id"]


def test_a_converted_run_is_of_its_parent_and_has_its_accuracy_over_time(
    records: dict[str, tuple[dict[str, Any], Path]],
) -> None:
    ann, converted = (records[f"robust/{name}"][0] for name in ("ann", "converted"))
    assert converted["provenance"]["start"]["weights_sha256"] == ann["weights_sha256"]
    over_time = converted["metrics"]["last"]["top1_over_time"]
    assert [steps for steps, _ in over_time] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    assert converted["spec"]["start"]["convert"]["kwargs"] == {"percentile": 99.5}
