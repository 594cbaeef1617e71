"""What the trainer builds from a spec."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from tksbench.recipe import TrainSpec, expand, load_recipe
from tksbench.train.build import build_model, build_optimizer
from tksbench.train.errors import TrainError
from tksbench.train.graph import may_be_recorded
from tksbench.train.objective import build_objective
from tksbench.train.parallel import ALONE
from tksbench.train.schedule import learning_rate
from tksbench.train.zero import ZeroProcesses

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(("decays", "count"), [("matrices", 1), ("all", 2)])
def test_weight_decay_is_on_matrices_or_on_all(decays: str, count: int) -> None:
    run = expand(load_recipe(RECIPES / "cifar10.yaml"), overrides=[f"optim.decays={decays}"])[0]
    groups = build_optimizer(run.spec, nn.Linear(2, 2)).param_groups
    assert sum(len(group["params"]) for group in groups if group["weight_decay"]) == count


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_looks_ahead_unless_it_is_switched_off(nesterov: bool) -> None:
    words = ["optim.name=sgd", *([] if nesterov else ["optim.nesterov=false"])]
    run = expand(load_recipe(RECIPES / "cifar10.yaml"), overrides=words)[0]
    assert {group["nesterov"] for group in build_optimizer(run.spec, nn.Linear(2, 2)).param_groups} == {nesterov}


@pytest.mark.parametrize("amsgrad", [True, False])
def test_adam_keeps_the_largest_second_moment_if_asked_to(amsgrad: bool) -> None:
    words = ["optim.name=adam", *(["optim.amsgrad=true"] if amsgrad else [])]
    run = expand(load_recipe(RECIPES / "cifar10.yaml"), overrides=words)[0]
    layer = nn.Linear(2, 2)
    optimizer = build_optimizer(run.spec, layer)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert all(("max_exp_avg_sq" in state) == amsgrad for state in optimizer.state.values())


@pytest.mark.parametrize(
    ("recipe", "overrides", "size"),
    [
        ("dvs_cifar10", [], 48),
        ("nmnist", [], 34),
        ("nmnist", ["data.image_size=20"], 20),
        ("ncaltech101", ["data.image_size=32"], 32),
    ],
)
def test_network_for_event_frames_fits_their_size(recipe: str, overrides: list[str], size: int) -> None:
    run = expand(load_recipe(RECIPES / f"{recipe}.yaml"), overrides=[*overrides, "model.width=0.05"])[0]
    model = build_model(run.spec, num_classes=10, in_chans=2, device=torch.device("cpu"))
    assert model(torch.zeros(1, 2, 2, size, size)).shape == (2, 1, 10)


@pytest.mark.parametrize(
    ("planned", "trained", "message"),
    [
        ("def f(logits, target, gain=1): return logits.sum() * gain", None, None),
        ("def f(logits, target, gain=1): ...", "def f(logits, target, gain=2): ...", "was edited since this run was"),
        # What a file's text does not tell, and so the plan could not; the rest is refused in recipe/outside.py.
        ("f = lambda logits: 0", None, "is called with .logits, target, .*too many positional arguments"),
        ("f = lambda logits, target: 0", None, "got an unexpected keyword argument 'gain'"),
        ("if False: f = None", None, "cannot be imported: .*no attribute 'f'"),
    ],
)
def test_a_method_from_outside_is_the_one_that_was_planned_and_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: str, trained: str | None, message: str | None
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = f"outside_{abs(hash((planned, trained)))}"  # imported once in a process
    (tmp_path / f"{module}.py").write_text(planned)
    text = (RECIPES / "cifar10.yaml").read_text()
    entry = f'runs:\n  - {{method: "{module}:f", params: {{kwargs: {{gain: 3}}}}}}\n'
    (tmp_path / "r.yaml").write_text(text.replace("runs:\n", entry, 1).replace("cifar10/spiking_resnet19/*", "*"))
    spec = expand(load_recipe(tmp_path / "r.yaml"))[0].spec
    (tmp_path / f"{module}.py").write_text(trained or planned)
    if message is None:
        assert build_objective(spec, 1)(nn.Identity(), torch.ones(2), torch.zeros(2))[0] == 6
        return
    with pytest.raises(TrainError, match=message):
        build_objective(spec, 1)


def test_weights_over_time_are_built_beside_those_in_channels_last() -> None:
    runs = expand(load_recipe(RECIPES / "cited" / "liaf.yaml"), "smoke")
    run = next(run for run in runs if run.spec.network == "conv3d_net")
    network = build_model(run.spec, 10, 2, torch.device("cpu"))
    assert any(weight.dim() == 5 for weight in network.parameters())


def spec_with(*words: str) -> TrainSpec:
    spec = expand(load_recipe(RECIPES / "cifar10.yaml"), overrides=words)[0].spec
    assert isinstance(spec, TrainSpec)
    return spec


RMSPROP = "optim.name=torch.optim.rmsprop:RMSprop"


@pytest.mark.parametrize(("decays", "expected"), [("matrices", {1: 0.0, 2: 0.3}), ("all", {1: 0.3, 2: 0.3})])
def test_an_optimizer_from_outside_gets_groups_of_weights_and_its_parameters(
    decays: str, expected: dict[int, float]
) -> None:
    spec = spec_with(RMSPROP, "optim.alpha=0.5", "optim.lr=0.25", "optim.weight_decay=0.3", f"optim.decays={decays}")
    optimizer = build_optimizer(spec, nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert {(group["lr"], group["alpha"]) for group in optimizer.param_groups} == {(0.25, 0.5)}
    assert {p.dim(): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]} == expected


@pytest.mark.parametrize("name", ["sgd", "torch.optim.rmsprop:RMSprop"])
def test_fully_connected_layers_may_have_a_learning_rate_of_their_own_that_falls_with_the_others(name: str) -> None:
    words = ("optim.lr=0.1", "optim.linear_lr=0.01", "optim.weight_decay=0.3", "optim.min_lr=0", "optim.drop_every=35")
    spec = spec_with(f"optim.name={name}", *words, "optim.warmup_epochs=0")
    network = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = build_optimizer(spec, network)
    learning_rate(optimizer, spec.optim).step(35)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(found) == len(list(network.parameters()))
    for module, rate in zip(network, (0.01, 0.01, 0.001, 0.001), strict=True):
        for p in module.parameters():
            assert found[id(p)] == (pytest.approx(rate), 0.3 if p.dim() > 1 else 0.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)  # what is logged


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TrainError, match="optim 'collections:UserList' makes a UserList, not a torch"):
        build_optimizer(spec_with("optim.name=collections:UserList"), nn.Linear(2, 2))


def test_an_optimizer_from_outside_is_not_recorded_as_a_graph_and_not_divided_among_processes() -> None:
    objective: Any = SimpleNamespace(graph_safe=True)
    recorded = [
        may_be_recorded(spec_with(*words), torch.device("cuda"), ALONE, nn.Linear(2, 2), objective)
        for words in ((), (RMSPROP,))
    ]
    assert recorded == [True, False]
    network, processes = nn.Linear(2, 2), cast("Any", SimpleNamespace(_stage=2))
    with pytest.raises(TrainError, match=r"execution\.zero 2 divides the weights of a layer, which optim 'torch"):
        ZeroProcesses.engage(processes, spec_with(RMSPROP), network, torch.optim.SGD(network.parameters()))
