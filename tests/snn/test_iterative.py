"""The iterative neuron: spike trains and gradients of five published systems, worked out by hand in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tksbench.snn.errors import SnnError
from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.surrogate import Arctan, Rectangle, Triangle, spike

STBP: dict[str, Any] = {"decay": 0.25, "threshold": 0.75, "surrogate": Rectangle()}
TDBN: dict[str, Any] = {"decay": 0.25, "threshold": 0.5, "surrogate": Rectangle()}
TET: dict[str, Any] = {"decay": 0.5, "threshold": 1.0, "surrogate": Triangle()}
TEBN: dict[str, Any] = {"decay": 0.25, "threshold": 1.0, "surrogate": Triangle()}
SEW: dict[str, Any] = {"decay": 1.0, "threshold": 1.0, "at_threshold": True, "detach": True, "surrogate": Arctan()}
TSSL: dict[str, Any] = {"decay": 0.8, "threshold": 1.0}


def train(neuron: IterativeLIF, value: float, steps: int) -> str:
    current = torch.full((steps, 1), value, dtype=torch.float64)
    plain, v = [], torch.zeros(1, dtype=torch.float64)
    for one in current:
        s, v = neuron.step(one, v)
        plain.append(s)
    spikes = neuron(current)
    assert torch.equal(spikes, torch.stack(plain))
    return "".join(str(int(s)) for s in spikes.flatten())


@pytest.mark.parametrize(
    ("constants", "value", "spikes"),
    [
        (STBP, 0.5, "000000000000"),
        (STBP, 0.6, "001001001001"),  # its second membrane is the threshold, which must not fire
        (STBP, 0.7, "010101010101"),
        (STBP, 0.8, "111111111111"),
        (TDBN, 0.3, "00000000"),
        (TDBN, 0.4, "00100100"),
        (TDBN | {"at_threshold": True}, 0.4, "01010101"),
        (TDBN, 0.45, "01010101"),
        (TDBN, 0.6, "11111111"),
        (TET, 0.5, "000000000000"),
        (TET, 0.6, "001001001001"),
        (TET, 0.8, "010101010101"),
        (TET, 1.0, "010101010101"),
        (TEBN, 0.7, "000000000000"),
        (TEBN, 0.8, "001001001001"),
        (TEBN, 0.9, "010101010101"),
        (TEBN, 1.0, "010101010101"),
        (SEW, 0.25, "000100010001"),
        (SEW, 0.3, "000100010001"),
        (SEW, 0.4, "001001001001"),
        (SEW, 0.5, "010101010101"),
        (TSSL, 0.3, "0000100001"),
        (TSSL, 0.4, "0001000100"),
        (TSSL, 0.5, "0010010010"),
    ],
)
def test_spike_trains_of_a_constant_current(constants: dict[str, Any], value: float, spikes: str) -> None:
    assert train(IterativeLIF(**constants), value, len(spikes)) == spikes


class Unknown:
    """The same triangle, of which the neuron knows no derivative: it takes the plain path."""

    def __call__(self, x: Tensor) -> Tensor:
        return spike(x, Triangle().derivative)


@pytest.mark.parametrize(
    ("constants", "spikes", "gradient"),
    [
        (TET, [0, 0, 0, 1], [1.24, 2.0, 3.0, 2.4]),
        (TET | {"surrogate": Unknown()}, [0, 0, 0, 1], [1.24, 2.0, 3.0, 2.4]),
        (TEBN, [0, 0, 0, 1], [0.9007643112792969, 1.8797769454956053, 2.59137939453125, 3.6875]),
        (STBP, [0, 1, 0, 1], [1.125625, 1.25625, 3.5, 4.0]),
        (SEW, [0, 1, 0, 1], [1.446900343627261, 1.0591737068881095, 2.416107864382609, 1.550906546956606]),
        (
            SEW | {"detach": False},
            [0, 1, 0, 1],
            [0.04221456863969214, -0.450258365018936, 2.192466799777364, 1.550906546956606],
        ),
    ],
)
def test_gradients_of_a_weighted_sum_of_spikes(
    constants: dict[str, Any], spikes: list[int], gradient: list[float]
) -> None:
    current = torch.tensor([[0.6], [0.7], [0.5], [0.9]], dtype=torch.float64, requires_grad=True)
    out = IterativeLIF(**constants)(current)
    assert out.flatten().tolist() == spikes
    (out.flatten() * torch.arange(1, 5)).sum().backward()
    assert current.grad is not None
    assert current.grad.flatten().tolist() == pytest.approx(gradient, rel=1e-12)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("at_threshold", [True, False])
def test_the_pass_over_all_steps_is_the_plain_one(detach: bool, at_threshold: bool) -> None:
    neuron = IterativeLIF(decay=0.5, threshold=1.0, detach=detach, at_threshold=at_threshold)
    other = IterativeLIF(decay=0.5, threshold=1.0, detach=detach, at_threshold=at_threshold, surrogate=Unknown())
    current = torch.randint(-2, 6, (6, 4, 3, 2, 2), generator=torch.Generator().manual_seed(0)).double() / 2
    upstream, grads = torch.randn_like(current), []
    for one in (neuron, other):
        leaf = current.flatten(0, 1).clone().requires_grad_()
        spikes = one(leaf, 6)
        spikes.backward(upstream.flatten(0, 1))
        grads.append((spikes.detach(), leaf.grad))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-12)


def test_its_membrane_has_full_precision_under_a_half_precision_current() -> None:
    current = torch.rand(8, 50).bfloat16()
    spikes = IterativeLIF()(current)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), IterativeLIF()(current.float()))


@pytest.mark.parametrize("constants", [{"decay": 1.5}, {"threshold": 0.0}])
def test_constants_out_of_range_are_refused(constants: dict[str, float]) -> None:
    with pytest.raises(SnnError, match="0 <= decay <= 1, threshold > 0"):
        IterativeLIF(**constants)


def test_surrogates_of_the_cited_systems() -> None:
    d = torch.tensor([-0.75, -0.5, 0.0, 0.25], dtype=torch.float64)
    assert Triangle().derivative(d).tolist() == [0.25, 0.5, 1.0, 0.75]
    half = Triangle(peak=2.0, slope=4.0).derivative(torch.tensor([-0.4, 0.25], dtype=torch.float64))
    assert half.tolist() == pytest.approx([0.4, 1.0])
    d = torch.tensor([-1, -0.5, -0.1, 0, 0.25], dtype=torch.float64)
    golden = [0.0919996684, 0.2884004391, 0.9101698376, 1, 0.6184864582]
    assert Arctan().derivative(d).tolist() == pytest.approx(golden, abs=1e-10)
    assert Rectangle().derivative(d).tolist() == [0, 0, 1, 1, 1]
    assert Rectangle(width=0.4).derivative(d).tolist() == [0, 0, 2.5, 2.5, 0]
