"""The neuron against the golden trains and gradients of the paper, and the fused pass against the reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tksbench.snn import native, neuron
from tksbench.snn.errors import SnnError
from tksbench.snn.neuron import LIF, lif, qgate

BACKENDS = ["reference", "fused", "auto"]
needs_compiler = pytest.mark.skipif(native.library() is None, reason="no C compiler: apt-get install gcc")
TRAINS = {
    0.5: "0000000000",
    0.6: "0010010010",
    0.7: "0101010101",
    0.9: "0101010101",
    1.0: "0101010101",
    1.01: "1111111111",
}


def gradient(current: Tensor, upstream: Tensor, **options: object) -> tuple[Tensor, Tensor]:
    leaf = current.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    spikes = lif(leaf, **options)  # type: ignore[arg-type]
    spikes.backward(upstream)
    assert leaf.grad is not None
    return spikes.detach(), leaf.grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("current", "train"), TRAINS.items())
def test_constant_current_gives_the_golden_train(backend: str, current: float, train: str) -> None:
    spikes = lif(torch.full((10,), current), backend=backend)
    assert "".join(str(int(s)) for s in spikes) == train


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_membrane_at_the_threshold_does_not_fire(backend: str) -> None:
    assert lif(torch.tensor([1.0]), backend=backend).item() == 0.0


@pytest.mark.parametrize(("x", "slope"), [(0, 2), (0.25, 1), (-0.25, 1), (0.5, 0), (-0.5, 0), (0.75, 0), (-3, 0)])
def test_surrogate_is_the_triangle_of_half_width_one_half_and_peak_two(x: float, slope: float) -> None:
    u = torch.tensor(float(x), requires_grad=True)
    qgate(u).backward()
    assert u.grad is not None
    assert u.grad.item() == slope


def test_surrogate_fires_strictly_above_zero() -> None:
    assert qgate(torch.tensor([-0.1, 0.0, 1e-7])).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_passes_through_the_membrane_to_earlier_steps(backend: str) -> None:
    # u = .4, .65; slopes 1.6, 1.4; dI2 = 1.4/2, dI1 = (1.6 + 1.4/2)/2
    current = torch.tensor([0.8, 0.9], dtype=torch.float64)
    spikes, grad = gradient(current, torch.ones(2, dtype=torch.float64), backend=backend)
    assert spikes.tolist() == [0.0, 1.0]
    assert grad.tolist() == pytest.approx([1.15, 0.7], abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_spike_cuts_the_gradient_to_earlier_steps(backend: str) -> None:
    # u = .6, .8; slopes 1.6, .8; the reset after the first spike stops all that comes from the second
    current = torch.tensor([1.2, 1.6], dtype=torch.float64)
    spikes, grad = gradient(current, torch.ones(2, dtype=torch.float64), backend=backend)
    assert spikes.tolist() == [1.0, 1.0]
    assert grad.tolist() == pytest.approx([0.8, 0.4], abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_membrane_at_the_threshold_passes_the_gradient(backend: str) -> None:
    # u = .5 (no spike, slope 2), .6 (slope 1.6); dI1 = (2 + 1.6/2)/2
    current = torch.tensor([1.0, 0.7], dtype=torch.float64)
    _, grad = gradient(current, torch.ones(2, dtype=torch.float64), backend=backend)
    assert grad.tolist() == pytest.approx([1.4, 0.8], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    tau=st.sampled_from([1.0, 2.0, 3.3]),
    threshold=st.sampled_from([0.5, 0.8]),
    seed=st.integers(0, 2**16),
)
def test_fused_equals_reference(shape: list[int], tau: float, threshold: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    current = 2 * torch.randn(shape, generator=generator, dtype=torch.float64) + 0.4
    upstream = torch.randn(shape, generator=generator, dtype=torch.float64)
    expected = gradient(current, upstream, tau=tau, threshold=threshold, backend="reference")
    actual = gradient(current, upstream, tau=tau, threshold=threshold, backend="fused")
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_fused_equals_reference_in_lower_precision(dtype: torch.dtype) -> None:
    current = (torch.randn(5, 3, 7, 4) + 0.5).to(dtype)
    upstream = torch.randn(5, 3, 7, 4).to(dtype)
    expected = gradient(current, upstream, backend="reference")
    actual = gradient(current, upstream, backend="fused")
    assert actual[0].dtype == actual[1].dtype == dtype
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)


def test_fused_equals_reference_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron, "CPU_BLOCK", 7)
    current, upstream = torch.randn(4, 3, 5, 5) + 0.5, torch.randn(4, 3, 5, 5)
    expected = gradient(current, upstream, backend="reference")
    torch.testing.assert_close(gradient(current, upstream, backend="fused"), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_input_keeps_a_full_precision_membrane(backend: str) -> None:
    current = (torch.randn(20, 500) + 0.5).bfloat16()
    spikes = lif(current, backend=backend)
    assert torch.equal(spikes.float(), lif(current.float(), backend="reference"))


def test_a_current_repeated_over_time_needs_no_copy() -> None:
    step = torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last) + 0.8
    repeated = step.expand(6, *step.shape)
    assert torch.equal(lif(repeated), lif(repeated.contiguous(), backend="reference"))


def test_channels_last_stays_channels_last() -> None:
    folded = torch.randn(6, 4, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    spikes = LIF(backend="fused")(folded, 3)
    spikes.backward(torch.randn(6, 4, 5, 5))
    assert folded.grad is not None
    assert spikes.is_contiguous(memory_format=torch.channels_last)
    assert folded.grad.is_contiguous(memory_format=torch.channels_last)


def test_gradient_is_right_when_its_memory_format_differs() -> None:
    current = torch.randn(6, 4, 5, 5).to(memory_format=torch.channels_last) + 0.5
    upstream = torch.randn(6, 4, 5, 5)
    expected = gradient(current, upstream, backend="reference")
    torch.testing.assert_close(gradient(current, upstream, backend="fused"), expected)


def test_fused_keeps_only_the_membranes_for_backward() -> None:
    kept: list[Tensor] = []
    current = torch.randn(4, 6, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        lif(current, backend="fused")
    assert [t.numel() * t.element_size() for t in kept] == [4 * 6 * 8 * 4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_spikes_are_the_same_without_gradient(backend: str) -> None:
    current = torch.randn(4, 50, requires_grad=True)
    with torch.no_grad():
        spikes = lif(current, backend=backend)
    assert torch.equal(spikes, lif(current, backend="reference"))
    assert not spikes.requires_grad


def test_folded_layout_has_time_outermost() -> None:
    current = torch.randn(4, 3, 5) + 0.5
    assert torch.equal(LIF()(current.flatten(0, 1), 4), lif(current).flatten(0, 1))


def test_the_membrane_starts_at_zero_in_every_call() -> None:
    layer, current = LIF(), torch.full((2, 3), 0.7)
    assert torch.equal(layer(current), layer(current))


def test_an_empty_batch_passes() -> None:
    assert lif(torch.empty(4, 0, 3)).shape == (4, 0, 3)


@pytest.mark.parametrize(
    ("current", "options", "message"),
    [
        (torch.ones(3, dtype=torch.int64), {}, r"type torch.int64; it must be floating point"),
        (torch.ones(0, 3), {}, r"shape \[0, 3\]; it must be \[T, ...\]"),
        (torch.tensor(1.0), {}, r"it must be \[T, ...\]"),
        (torch.ones(3), {"tau": 0.5}, r"tau is 0.5; it must be at least 1"),
        (torch.ones(3), {"threshold": 0.0}, r"threshold is 0.0; it must be above"),
        (
            torch.ones(3),
            {"backend": "cupy"},
            r"'cupy'; choose one of auto, reference, fused, native, triton",
        ),
    ],
)
def test_bad_input_is_named(current: Tensor, options: dict[str, object], message: str) -> None:
    with pytest.raises(SnnError, match=message):
        lif(current, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["fused", pytest.param("native", marks=needs_compiler)])
def test_a_second_derivative_is_an_error_and_not_0(backend: neuron.Backend) -> None:
    current = torch.rand(4, 5, requires_grad=True)
    (slope,) = torch.autograd.grad(lif(current, backend=backend).sum(), current, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        (slope.square().sum() + current.sum()).backward()


@needs_compiler
@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    tau=st.sampled_from([1.0, 2.0, 3.3]),
    threshold=st.sampled_from([0.5, 0.8]),
    seed=st.integers(0, 2**16),
)
def test_native_equals_reference(shape: list[int], tau: float, threshold: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    current = 2 * torch.randn(shape, generator=generator) + 0.4
    upstream = torch.randn(shape, generator=generator)
    membranes = neuron._fire(current.double(), tau, threshold, keep=True)[1]
    assume(membranes is not None and (membranes - threshold).abs().min() > 1e-5)  # else rounding decides
    exact = gradient(current.double(), upstream.double(), tau=tau, threshold=threshold, backend="reference")
    spikes, slope = gradient(current, upstream, tau=tau, threshold=threshold, backend="native")
    assert torch.equal(spikes.double(), exact[0])
    torch.testing.assert_close(slope.double(), exact[1], rtol=1e-5, atol=1e-5)  # of a peak of 2


@needs_compiler
@pytest.mark.parametrize("shape", [(4, 3000), (10, 511), (3, 1), (4, 8, 16, 16, 16)])
def test_native_has_the_bits_of_fused(shape: tuple[int, ...]) -> None:
    """So that a run does not depend on whether there is a compiler."""
    current, upstream = 1.5 * torch.randn(shape), torch.randn(shape)
    if len(shape) == 5:
        current = current.permute(0, 1, 4, 2, 3)  # channels last
    upstream = upstream.reshape(current.shape)
    native_pair = gradient(current, upstream, backend="native")
    fused_pair = gradient(current, upstream, backend="fused")
    assert torch.equal(native_pair[0], fused_pair[0])
    assert torch.equal(native_pair[1], fused_pair[1])
    assert native_pair[0].stride() == fused_pair[0].stride()


@needs_compiler
def test_native_does_not_depend_on_the_number_of_threads() -> None:
    current, upstream = 1.5 * torch.randn(4, 100_000), torch.randn(4, 100_000)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(gradient(current, upstream, backend="native"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_without_a_compiler_the_neuron_is_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    native._library.cache_clear()
    try:
        current = torch.randn(4, 50)
        assert torch.equal(lif(current), lif(current, backend="fused"))
        with pytest.raises(SnnError, match="backend native needs a C compiler"):
            lif(current, backend="native")
    finally:
        native._library.cache_clear()


def test_native_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(SnnError, match=r"needs float32 on a CPU, not torch.float64 on cpu"):
        lif(torch.randn(4, 5, dtype=torch.float64), backend="native")
