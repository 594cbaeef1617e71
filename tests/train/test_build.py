"""What the trainer builds from a spec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tksbench.recipe import expand, load_recipe
from tksbench.train.build import build_model, build_optimizer
from tksbench.train.errors import TrainError
from tksbench.train.objective import build_objective

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
