"""Signed Poisson coding."""

from __future__ import annotations

import torch

from tksbench.snn.encoder import Poisson, signed_spikes
from tksbench.snn.overtime import continued

X = torch.tensor([0.5, -0.5, 0.2, -1.0, 0.0, 1.4])
U = torch.tensor([0.49, 0.5, 0.21, 0.999, 0.0, 0.7])


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_spikes_of_given_random_numbers() -> None:
    assert signed_spikes(X, U).tolist() == [1, -1, 0, -1, 0, 1]
    assert signed_spikes(X, U, 0.9).tolist() == [0, 0, 0, 0, 0, 1]


def test_mean_is_the_clipped_pixel() -> None:
    spikes = Poisson(scale=0.9)(images(), 4000)
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}
    torch.testing.assert_close(spikes.mean(0), (0.9 * images()).clamp(-1, 1), atol=0.05, rtol=0)


def test_an_image_has_its_spikes_whatever_stands_beside_it() -> None:
    poisson, batch = Poisson().eval(), images()
    whole = poisson(batch, 6)
    assert torch.equal(poisson(batch[1:2], 6)[:, 0], whole[:, 1])
    assert torch.equal(poisson(batch, 6), whole)


def test_steps_in_parts_are_one_presentation() -> None:
    poisson, batch = Poisson().eval(), images()
    with continued(poisson):
        joined = torch.cat([poisson(batch, 2), poisson(batch, 4)])
    assert torch.equal(joined, poisson(batch, 6))


def test_draws_and_steps_of_training_differ() -> None:
    first, other, batch = Poisson().eval(), Poisson(draw=1).eval(), images()
    assert not torch.equal(first(batch, 6), other(batch, 6))
    first.train()
    first.set_progress(0.25)
    early = first(batch, 6)
    first.set_progress(0.5)
    assert not torch.equal(first(batch, 6), early)
    first.set_progress(0.25)
    assert torch.equal(first(batch, 6), early)  # as a resumed run draws it
