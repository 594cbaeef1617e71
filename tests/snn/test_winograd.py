"""The fast convolution against torch's in float64, and where it must not be taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.snn import layers, winograd
from tksbench.snn.resnet import SpikingResNet19
from tksbench.snn.winograd import Conv3x3

needs_library = pytest.mark.skipif(winograd.library() is None, reason="no C compiler, or no AVX-512")
LAST = torch.channels_last


def make(
    count: int, channels: int, features: int, size: tuple[int, int], *, spikes: bool = True, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weights and upstream gradient."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, *size)
    x = torch.randint(2, shape, generator=generator).float() if spikes else torch.randn(shape, generator=generator)
    weight = torch.randn(features, channels, 3, 3, generator=generator)
    upstream = torch.randn(count, features, *size, generator=generator)
    return x.to(memory_format=LAST), weight.to(memory_format=LAST), upstream.to(memory_format=LAST)


def results(convolve: Any, x: Tensor, weight: Tensor, upstream: Tensor) -> list[Tensor]:
    """Output, gradient of the input and of the weights."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = convolve(x, weight)
    y.backward(upstream)
    assert x.grad is not None
    assert weight.grad is not None
    return [y.detach(), x.grad, weight.grad]


def plain(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=1)


@needs_library
@settings(deadline=None, max_examples=25)
@given(
    count=st.integers(1, 5),
    channels=st.sampled_from([64, 128, 192, 512]),
    features=st.sampled_from([64, 128, 320]),
    size=st.tuples(st.integers(1, 13), st.integers(1, 18)),
    spikes=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_output_and_gradients_equal_torch_in_float64(
    count: int, channels: int, features: int, size: tuple[int, int], spikes: bool, seed: int
) -> None:
    x, weight, upstream = make(count, channels, features, size, spikes=spikes, seed=seed)
    exact = results(plain, x.double(), weight.double(), upstream.double())
    for found, expected in zip(results(winograd.convolve, x, weight, upstream), exact, strict=True):
        # Of what the sums are made of: an image of one pixel has weights whose gradient is 0.
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max().clamp_min(1.0)


@needs_library
@pytest.mark.parametrize(("count", "channels", "side"), [(16, 128, 32), (16, 256, 16), (16, 512, 8)])
def test_layers_of_resnet_19_equal_torch_in_float64(count: int, channels: int, side: int) -> None:
    x, weight, upstream = make(count, channels, channels, (side, side))
    assert winograd.fits(x, weight)
    exact = results(plain, x.double(), weight.double(), upstream.double())
    for found, expected in zip(results(winograd.convolve, x, weight, upstream), exact, strict=True):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@needs_library
def test_contiguous_weights_give_the_same_bits() -> None:
    x, weight, upstream = make(2, 128, 192, (9, 8))
    found = results(winograd.convolve, x, weight.contiguous(), upstream.contiguous())
    assert all(map(torch.equal, found, results(winograd.convolve, x, weight, upstream)))


@needs_library
def test_the_number_of_threads_does_not_change_a_bit() -> None:
    case, found, before = make(9, 128, 128, (32, 32)), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results(winograd.convolve, *case))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, found[0], found[1]))
    assert all(map(torch.equal, found[0], found[2]))


@needs_library
def test_spikes_are_kept_as_bytes() -> None:
    x, weight, _ = make(2, 128, 128, (16, 16))
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        winograd.convolve(x, weight.requires_grad_())
    assert sum(t.nbytes for t in kept if t is not weight and t.data_ptr() != weight.data_ptr()) == x.numel()


@needs_library
def test_gradients_that_nobody_asked_for_are_not_made() -> None:
    x, weight, upstream = make(2, 128, 128, (8, 8))
    winograd.convolve(x, weight.requires_grad_()).backward(upstream)
    assert x.grad is None
    assert weight.grad is not None


@pytest.mark.parametrize(
    "case",
    [
        make(16, 64, 128, (32, 32)),
        make(16, 128, 96, (32, 32)),
        make(16, 160, 160, (32, 32)),
        make(1, 128, 128, (16, 16)),
        make(64, 128, 128, (5, 5)),
        [tensor.double() for tensor in make(16, 128, 128, (16, 16))],
        [tensor.contiguous() for tensor in make(16, 128, 128, (16, 16))],
    ],
    ids=["narrow in", "narrow out", "no whole blocks", "few tiles", "tiles half empty", "float64", "contiguous"],
)
def test_torch_convolves_what_does_not_fit(case: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, _ = case
    conv = Conv3x3(weight.shape[1], weight.shape[0]).to(x.dtype)
    with torch.no_grad():
        conv.weight.copy_(weight)
        assert not winograd.fits(x, weight)
        assert torch.equal(conv(x), plain(x, conv.weight))


@needs_library
def test_a_batch_norm_folded_into_it_is_not_forgotten() -> None:
    x, _, _ = make(16, 128, 128, (16, 16))
    conv, norm = Conv3x3(128, 128).eval(), nn.BatchNorm2d(128).eval()
    nn.init.normal_(norm.bias)
    folded = nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
    assert winograd.fits(x, folded.weight)
    torch.testing.assert_close(folded(x), norm(conv(x)), rtol=1e-4, atol=1e-4)


@needs_library
@pytest.mark.parametrize(
    ("name", "value"),
    [("stride", (2, 2)), ("padding", (0, 0)), ("dilation", (2, 2)), ("groups", 2), ("padding_mode", "circular")],
)
def test_changed_after_it_was_made_it_is_torchs(name: str, value: Any) -> None:
    x, weight, _ = make(16, 128, 128, (16, 16))
    channels = 128 // value if name == "groups" else 128
    changed, torchs = Conv3x3(128, 128), nn.Conv2d(128, 128, 3, padding=1, bias=False)
    for conv in (changed, torchs):
        conv.weight = nn.Parameter(weight[:, :channels].contiguous())
        setattr(conv, name, value)
        conv._reversed_padding_repeated_twice = [1, 1, 1, 1]
    assert torch.equal(changed(x), torchs(x))


def test_under_autocast_torch_convolves() -> None:
    x, weight, _ = make(16, 128, 128, (16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.fits(x, weight)


def test_without_a_compiler_torch_convolves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    winograd.library.cache_clear()
    try:
        x, weight, _ = make(16, 128, 128, (16, 16))
        assert not winograd.fits(x, weight)
    finally:
        winograd.library.cache_clear()


def test_a_convolution_is_torchs_in_keys_and_initial_weights() -> None:
    torch.manual_seed(0)
    ours = layers.conv(128, 192, 3)
    torch.manual_seed(0)
    torchs = nn.Conv2d(128, 192, 3, padding=1, bias=False)
    assert ours.state_dict().keys() == torchs.state_dict().keys()
    assert torch.equal(ours.weight, torchs.weight)


def test_narrow_networks_never_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their records were made with torch's convolutions."""
    monkeypatch.setattr(winograd, "convolve", lambda *_: pytest.fail("taken"))
    network = SpikingResNet19(width=0.125).to(memory_format=LAST)
    network(torch.randn(4, 3, 32, 32).to(memory_format=LAST)).sum().backward()


def test_under_torch_compile_torch_convolves() -> None:
    x, weight, _ = make(16, 128, 128, (16, 16))
    conv = Conv3x3(128, 128)
    with torch.no_grad():
        conv.weight.copy_(weight)
        assert torch.equal(torch.compile(conv, backend="eager", fullgraph=True)(x), plain(x, conv.weight))
