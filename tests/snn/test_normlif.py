"""Batch norm and neuron in one pass, against the modules one after another: in float64, and spikes to the bit."""

from __future__ import annotations

import copy
from typing import NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tksbench.snn import compiler, native, neuron, normlif
from tksbench.snn.neuron import LIF
from tksbench.snn.normlif import norm_lif

needs_compiler = pytest.mark.skipif(native.library() is None, reason="no C compiler: apt-get install gcc")


class Layer(NamedTuple):
    """A batch norm with inputs; `shortcut` is empty where there is none."""

    norm: nn.BatchNorm2d
    x: Tensor
    shortcut: Tensor | None
    upstream: Tensor
    steps: int
    repeats: int


def make(
    seed: int, steps: int, batch: int, channels: int, size: tuple[int, int], *, shortcut: bool, repeated: bool
) -> Layer:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 0.6, 0.3)
    nn.init.normal_(norm.bias, 0.5, 0.3)
    full = (steps * batch, channels, *size)
    x = 3 * torch.randn(batch if repeated else steps * batch, channels, *size) + 1
    last = torch.channels_last
    other = torch.randint(3, full).float().to(memory_format=last) if shortcut else None
    upstream = torch.randn(full).to(memory_format=last)
    return Layer(norm, x.to(memory_format=last), other, upstream, steps, steps if repeated else 1)


def run(layer: Layer, dtype: torch.dtype = torch.float32, **options: float | str) -> dict[str, Tensor]:
    """Spikes, gradients and running statistics, of copies of a layer."""
    norm = copy.deepcopy(layer.norm).to(dtype)
    x = layer.x.detach().to(dtype).requires_grad_()
    shortcut = None if layer.shortcut is None else layer.shortcut.detach().to(dtype).requires_grad_()
    neurons = LIF(**options)  # type: ignore[arg-type]
    spikes = norm_lif(norm, neurons, x, layer.steps, shortcut=shortcut, repeats=layer.repeats)
    spikes.backward(layer.upstream.to(dtype))
    found = {"spikes": spikes.detach(), "x": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    found |= {"mean": norm.running_mean, "var": norm.running_var, "batches": norm.num_batches_tracked}
    return {key: value for key, value in found.items() if value is not None} | (
        {} if shortcut is None or shortcut.grad is None else {"shortcut": shortcut.grad}
    )


def one_after_another(layer: Layer, monkeypatch: pytest.MonkeyPatch, **options: float | str) -> dict[str, Tensor]:
    with monkeypatch.context() as patch:
        patch.setattr(normlif, "_fits", lambda *_: False)
        return run(layer, **options)


@needs_compiler
@settings(deadline=None)
@given(
    steps=st.integers(1, 5),
    batch=st.integers(1, 4),
    channels=st.sampled_from([1, 3, 8, 20, 520]),
    size=st.tuples(st.integers(1, 7), st.integers(2, 7)),
    tau=st.sampled_from([1.0, 2.0, 3.3]),
    kind=st.sampled_from(["alone", "shortcut", "repeated"]),
    seed=st.integers(0, 2**16),
)
def test_one_pass_equals_the_reference_in_float64(
    steps: int, batch: int, channels: int, size: tuple[int, int], tau: float, kind: str, seed: int
) -> None:
    layer = make(seed, steps, batch, channels, size, shortcut=kind == "shortcut", repeated=kind == "repeated")
    assume(layer.x.numel() // channels > 4)  # statistics of a few values magnify rounding
    exact = run(layer, torch.float64, tau=tau, backend="reference")
    found = run(layer, tau=tau, backend="native")
    norm = copy.deepcopy(layer.norm).double()
    current = norm(layer.x.double()).repeat(layer.repeats, 1, 1, 1)
    current = current if layer.shortcut is None else current + layer.shortcut
    membranes = neuron._fire(current.detach().reshape(steps, -1), tau, 0.5, keep=True)[1]
    assert membranes is not None
    assume((membranes - 0.5).abs().min() > 1e-5)  # else rounding decides
    assert torch.equal(found["spikes"].double(), exact["spikes"])
    for key in exact.keys() - {"spikes"}:
        terms = layer.upstream.abs().sum() / channels if key in ("weight", "bias") else 0.01  # what sums cancel from
        error = (found[key].double() - exact[key]).abs().max() / exact[key].abs().max().clamp_min(terms)
        assert error < 1e-5, key


def assert_same_spikes(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Sums over the batch have an order of their own; what is not within rounding of the threshold fires the same."""
    assert torch.equal(found["spikes"], expected["spikes"])
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("kind", ["alone", "shortcut", "repeated"])
@pytest.mark.parametrize(("batch", "channels", "size"), [(3, 20, (9, 9)), (2, 128, (5, 6)), (2, 520, (1, 3))])
def test_one_pass_has_the_spikes_of_one_after_another(
    batch: int, channels: int, size: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make(5, 4, batch, channels, size, shortcut=kind == "shortcut", repeated=kind == "repeated")
    found, expected = run(layer), one_after_another(layer, monkeypatch)
    assert 0 < expected["spikes"].mean() < 1
    assert_same_spikes(found, expected)
    assert found["spikes"].is_contiguous(memory_format=torch.channels_last)


@needs_compiler
@pytest.mark.parametrize("kind", ["alone", "shortcut", "repeated"])
def test_the_number_of_threads_does_not_change_a_bit(kind: str) -> None:
    layer = make(0, 4, 4, 32, (16, 16), shortcut=kind == "shortcut", repeated=kind == "repeated")
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(run(layer))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert {key: torch.equal(found[0][key], other[key]) for key in other} == dict.fromkeys(other, True)


@needs_compiler
@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="a processor without AVX2")
@pytest.mark.parametrize("kind", ["alone", "shortcut", "repeated"])
@pytest.mark.parametrize("channels", [16, 20])
def test_the_width_of_vectors_does_not_change_a_bit(kind: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(1, 3, 4, channels, (9, 9), shortcut=kind == "shortcut", repeated=kind == "repeated")
    found = run(layer)
    monkeypatch.setattr(compiler, "_loaded", {})  # what the other tests have loaded is still what is in use
    narrow, why = compiler.load("lif", (*native._FLAGS, "-march=x86-64-v3"), "neuron")
    assert narrow is not None, why
    monkeypatch.setattr(native, "library", lambda: native._typed(narrow))
    other = run(layer)
    assert {key: torch.equal(found[key], other[key]) for key in other} == dict.fromkeys(other, True)


@needs_compiler
def test_kept_for_backward_are_the_convolution_which_is_there_and_spikes_as_bytes() -> None:
    layer = make(0, 4, 2, 16, (8, 8), shortcut=True, repeated=False)
    assert layer.shortcut is not None
    x, shortcut = layer.x.requires_grad_(), layer.shortcut.requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        norm_lif(layer.norm, LIF(), x, 4, shortcut=shortcut)
    large = [t for t in kept if t.numel() > 16]
    assert [t.data_ptr() for t in large if t.dtype == torch.float32] == [x.data_ptr()]
    assert [t.shape for t in large if t.dtype == torch.uint8] == [shortcut.shape]


@needs_compiler
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_whole_numbers_are_packed_into_bytes_and_come_back(layout: torch.memory_format) -> None:
    x = torch.randint(256, (3, 20, 30, 40)).float().to(memory_format=layout)
    packed = native.pack(x)
    assert packed.dtype == torch.uint8
    assert torch.equal(native.unpack(packed), x)
    assert native.unpack(packed).stride() == x.stride()


@needs_compiler
@pytest.mark.parametrize("other", [0.25, -1.0, 256.0, 1e20, float("nan"), float("inf")])
def test_a_single_other_number_is_not_packed(other: float) -> None:
    x = torch.randint(2, (3, 20, 30, 40)).float()
    x[2, 19, 29, 38] = other
    assert native.unpack(native.pack(x)) is x


@needs_compiler
def test_shortcuts_that_are_no_spikes_are_added_as_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(0, 4, 2, 16, (8, 8), shortcut=True, repeated=False)
    assert layer.shortcut is not None
    layer = layer._replace(shortcut=layer.shortcut + 0.3)
    found, expected = run(layer), one_after_another(layer, monkeypatch)
    assert_same_spikes(found, expected)


@needs_compiler
def test_a_gradient_of_another_memory_format_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(0, 2, 2, 5, (4, 6), shortcut=False, repeated=False)
    other = layer._replace(upstream=layer.upstream.contiguous())
    assert torch.equal(run(other)["x"], run(layer)["x"])
    assert_same_spikes(run(other), one_after_another(layer, monkeypatch))


def test_a_weight_changed_between_the_passes_is_refused() -> None:
    layer = make(0, 4, 2, 16, (8, 8), shortcut=False, repeated=False)
    spikes = norm_lif(layer.norm, LIF(), layer.x.requires_grad_(), 4)
    with torch.no_grad():
        layer.norm.weight.mul_(10)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        spikes.sum().backward()


def test_weights_with_gaps_between_them_are_read_as_they_are() -> None:
    layer = make(0, 4, 2, 16, (8, 8), shortcut=False, repeated=False)
    norm, expected = copy.deepcopy(layer.norm), norm_lif(layer.norm, LIF(), layer.x, 4)
    norm.weight = nn.Parameter(torch.stack((norm.weight.detach(), torch.full((16,), 9.0)), 1)[:, 0])
    assert torch.equal(norm_lif(norm, LIF(), layer.x, 4), expected)


@pytest.mark.parametrize("shape", [(1, 16, 1, 1), (8, 1, 8, 8), (16, 1, 1)])
def test_a_smaller_shortcut_is_broadcast_as_torch_does(shape: tuple[int, ...]) -> None:
    layer = make(0, 4, 2, 16, (8, 8), shortcut=False, repeated=False)
    shortcut = torch.randn(shape)
    expected = LIF()(copy.deepcopy(layer.norm)(layer.x) + shortcut, 4)
    assert torch.equal(norm_lif(layer.norm, LIF(), layer.x, 4, shortcut=shortcut), expected)


def test_a_batch_that_is_not_whole_steps_is_refused() -> None:
    layer = make(0, 4, 2, 16, (8, 8), shortcut=False, repeated=False)
    with pytest.raises(RuntimeError, match="shape"):
        norm_lif(layer.norm, LIF(), layer.x, 3)


def test_hooks_see_their_modules_and_change_nothing() -> None:
    layer = make(0, 4, 2, 16, (8, 8), shortcut=False, repeated=False)
    neurons, norm, seen = LIF(), copy.deepcopy(layer.norm), []
    neurons.register_forward_hook(lambda _module, _inputs, spikes: seen.append(spikes))
    watched = norm_lif(norm, neurons, layer.x, 4)
    assert len(seen) == 1
    assert torch.equal(watched, run(layer)["spikes"])


def test_in_evaluation_running_statistics_are_used_and_kept() -> None:
    layer = make(0, 4, 2, 16, (8, 8), shortcut=False, repeated=False)
    norm = layer.norm.eval()
    spikes = norm_lif(norm, LIF(), layer.x, 4)
    assert torch.equal(spikes, LIF()(norm(layer.x), 4))
    assert norm.num_batches_tracked is not None
    assert norm.num_batches_tracked.item() == 0


def test_a_single_value_a_channel_is_refused_as_torch_does() -> None:
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm_lif(nn.BatchNorm2d(3), LIF(), torch.randn(1, 3, 1, 1), 1)
