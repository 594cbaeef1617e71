"""Dropout: masks are of the run's seed and its progress."""

from __future__ import annotations

import pytest
import torch

from tksbench.snn.dropout import Dropout
from tksbench.snn.errors import SnnError

X = torch.ones(6, 4, 5, 5)


def made(**options: bool) -> Dropout:
    torch.manual_seed(3)
    return Dropout(0.5, **options)


def test_the_same_point_of_a_run_has_the_same_masks_and_another_point_others() -> None:
    first, second = made(), made()
    first.set_progress(0.25)
    one, two = first(X, 3), first(X, 3)
    assert not torch.equal(one, two)  # two passes of one step
    torch.manual_seed(99)  # the global state does not matter
    second.set_progress(0.25)
    assert torch.equal(second(X, 3), one)
    second.set_progress(0.5)
    assert not torch.equal(second(X, 3), one)


def test_it_keeps_the_mean_and_does_nothing_in_evaluation() -> None:
    layer = made()
    out = layer(torch.ones(8, 100, 10, 10), 2)
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    assert layer.eval()(X, 3) is X


def test_a_mask_holds_for_all_steps_unless_asked_otherwise() -> None:
    steps = made()(X, 3).view(3, 2, 4, 5, 5)
    assert torch.equal(steps[0], steps[1])
    assert not torch.equal(steps[0, 0], steps[0, 1])  # samples have masks of their own
    steps = made(per_step=True)(X, 3).view(3, 2, 4, 5, 5)
    assert not torch.equal(steps[0], steps[1])


def test_strips_are_dropped_over_their_width() -> None:
    out = made(strips=True)(X, 3)
    assert torch.equal(out, out[..., :1].expand_as(out))
    assert len(out[:2, :, :, 0].unique()) == 2


@pytest.mark.parametrize("p", [1.0, -0.1])
def test_a_probability_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(SnnError, match="p is"):
        Dropout(p)
