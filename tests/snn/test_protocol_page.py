"""The numbers of docs/protocol.md are those that this code computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch

from tests.snn.test_losses import TARGET, golden_logits
from tksbench.snn import losses, neuron
from tksbench.snn.neuron import LIF

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of all tables' rows below a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    section = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{len(level)}}} |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    lines = re.findall(r"^\|([^-].*)\|$", section[1], re.MULTILINE)
    return [[cell.strip(" `") for cell in line.split("|")] for line in lines]


GOLDEN = [row for row in rows("### Golden values") if row[0].endswith(")")]
TRAINS = [row for row in rows("## The neuron") if re.fullmatch("[01]{10}", row[1])]
NETWORKS = [row for row in rows("## The networks") if len(row) == 6 and row[1].isdigit()]


def test_the_page_has_its_tables() -> None:
    assert (len(GOLDEN), len(TRAINS), len(NETWORKS)) == (8, 5, 15)


@pytest.mark.parametrize(("call", "value"), GOLDEN)
def test_golden_value(call: str, value: str) -> None:
    names = {name: getattr(losses, name) for name in ("baseline", "label_smoothing", "tet", "tks")}
    found = eval(call, names | {"o": golden_logits(), "y": TARGET})  # noqa: S307 - of our own page
    assert f"{found.item():.6f}" == value


@pytest.mark.parametrize(("current", "train"), TRAINS)
def test_spikes_of_a_constant_input(current: str, train: str) -> None:
    spikes = neuron.lif(torch.full((10,), float(current), dtype=torch.float64))
    assert "".join(str(int(spike)) for spike in spikes) == train


@pytest.mark.parametrize("row", NETWORKS, ids=[f"{row[0]}-{row[1]}" for row in NETWORKS])
def test_parameters_and_neurons_of_a_network(row: list[str]) -> None:
    name, classes, parameters, _, _, layers = row
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=int(classes))
    assert f"{sum(p.numel() for p in model.parameters()):,}" == parameters
    assert layers in ("", str(sum(isinstance(module, LIF) for module in model.modules())))


def test_stages_add_up_to_the_network() -> None:
    for heading, total in (("### ResNet-19", 12_698_250), ("### SEW-ResNet-19", 12_630_858)):
        counts = [row[3].replace(",", "") for row in rows(heading)[1:]]
        *stages, head = counts
        fixed, _, by_class = head.partition(" + ")
        assert sum(map(int, stages)) + int(fixed) + 10 * int(by_class.removesuffix(" C")) == total, heading
