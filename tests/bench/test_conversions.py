"""Converted networks: the bench's candidates have one ReLU network, and their spikes agree."""

from __future__ import annotations

import pytest
import torch

from benchmarks.conversions import analog, by_spikingjelly, converted, step_by_step
from tksbench.snn.biasfree import BiasFreeResNet, BiasFreeVGG
from tksbench.snn.kit import Kit, ReLU
from tksbench.snn.overtime import outputs_at


@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_conversions_begin_with_the_same_network_and_give_the_same(name: str) -> None:
    torch.manual_seed(0)
    options = {"width": 0.0625, "img_size": 16, "num_classes": 5, "kit": Kit(neuron=ReLU)}
    ours = BiasFreeResNet((2, 2, 2, 2), **options) if name == "resnet" else BiasFreeVGG("vgg11", **options)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(analog(ours.eval())(images), ours(images)[0])
    pytest.importorskip("spikingjelly", reason="needs the extra bench")
    # Sums that all but reach a threshold differ in the last bit, and with it in a spike.
    theirs = step_by_step(by_spikingjelly(ours, images), images, 64).double()
    mine = outputs_at(converted(ours, images), images, [64])[0]
    assert mine.abs().sum() > 0
    assert (theirs - mine).norm() < 0.05 * mine.norm()
