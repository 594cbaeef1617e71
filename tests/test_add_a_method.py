"""The how-to on adding a method, followed to the letter in a temporary folder, down to its row in Table 1."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how-to" / "add-a-method.md"


def block(language: str) -> tuple[str, str]:
    """Title and content of the page's first code block of a language."""
    found = re.search(rf'^```{language} title="([^"]*)"\n(.*?)^```$', HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1], found[2]


def test_one_file_and_one_recipe_entry_give_a_row_in_table_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "results").mkdir()
    shutil.copy(ROOT / "results" / "paper.yaml", tmp_path / "results")
    file, source = block("python")
    assert len(source.splitlines()) <= 40
    (tmp_path / file).write_text(source)
    recipe, entry = block("yaml")
    assert len(entry.splitlines()) == 1
    text = (tmp_path / recipe).read_text().replace("\nruns:\n", f"\nruns:\n{entry}", 1)
    for long, short in (("train_subset: 1000, test_subset: 300", "train_subset: 64, test_subset: 20"), ("7,", "2,")):
        assert long in text
        text = text.replace(long, short)  # this test alone: seconds in place of half a minute
    (tmp_path / recipe).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TKSBENCH_DATA", str(tmp_path))
    monkeypatch.delenv("TKSBENCH_RESULTS", raising=False)
    commands = re.findall(r"^\$ python (-m tksbench\..*)$", HOW_TO.read_text(), re.MULTILINE)
    assert len(commands) == 6
    printed = {}
    for command in commands[:5]:  # the last one is another run
        words = [word.strip("'") for word in command.split()]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
        nothing_to_compare = "compare" in words  # TKS is not trained here
        assert done.returncode == nothing_to_compare, done.stdout + done.stderr
        printed[" ".join(words)] = done.stdout
    row = next(line for line in Path("results/local/tables/table1.md").read_text().splitlines() if "late.per" in line)
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert cells[:5] == ["CIFAR10", r"late.per\_step (+)", "ResNet-19", "4", "–"]
    assert cells[5:8] == ["", "–", "–"]  # of no cited work, and of no paper
    assert cells[-1] == "smoke check passed"  # there are no data here
    _, _, checks = printed["-m tksbench.tables table1"].partition("Smoke checks on stand-in data")
    assert re.search(r"cifar10/spiking_resnet19/late\.per_step +smoke +1 +\d+\.\d\d", checks)
    record = json.loads(next(Path("results/runs").glob("*/record.json")).read_text())
    # The launcher, too, holds torch to the kernels that all processors have.
    assert record["provenance"]["machine"]["instructions"] == os.environ.get("ATEN_CPU_CAPABILITY", "avx2").upper()
    kept = Path("results/runs") / record["id"] / "method.py"
    assert kept.read_text() == source
    assert kept.name in record["files"]
