"""Convolutions by events against torch's in float64, their bits, and where they must not be taken."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.snn import eventconv, kit, layers
from tksbench.snn.eventconv import EventConv2d, event_linear

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_library = pytest.mark.skipif(eventconv.library() is None, reason="no C compiler, or a processor without AVX2")
LAST = torch.channels_last
# What no bit may depend on: the width of vectors, the optimizer of the compiler, and how sparse is told from dense.
BUILDS = {
    "x86-64-v3": ("-march=x86-64-v3",),
    "hardly optimized": ("-O1", "-march=x86-64-v3"),
    "all as lists": ("-DMUCH=2", "-DMUCH_OF_GRADIENT=2"),
    "all dense": ("-DMUCH=-1.0", "-DMUCH_OF_GRADIENT=-1.0"),
}


def make(
    count: int,
    channels: int,
    features: int,
    size: tuple[int, int],
    *,
    kernel: int = 3,
    stride: int = 1,
    density: float = 0.15,
    values: str = "spikes",
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weights and upstream gradient."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, *size)
    x = (torch.rand(shape, generator=generator) < density).float()
    if values == "integers":
        x *= torch.randint(1, 4, shape, generator=generator)
    if values == "analog":
        x *= torch.randn(shape, generator=generator)
    weight = torch.randn(features, channels, kernel, kernel, generator=generator)
    y = F.conv2d(x, weight, stride=stride, padding=kernel // 2)
    upstream = torch.randn(y.shape, generator=generator)
    return x.to(memory_format=LAST), weight.to(memory_format=LAST), upstream.to(memory_format=LAST)


def results(convolve: Any, x: Tensor, weight: Tensor, upstream: Tensor, stride: int = 1) -> list[Tensor]:
    """Output, gradient of the input and of the weights."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = convolve(x, weight, stride)
    y.backward(upstream)
    assert x.grad is not None
    assert weight.grad is not None
    return [y.detach(), x.grad, weight.grad]


def plain(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)


@needs_library
@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 20),
    channels=st.sampled_from([1, 2, 3, 4, 8, 12, 16, 32, 64, 128]),
    features=st.sampled_from([4, 8, 10, 16, 20, 32, 64, 100, 128]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 11)),
    kernel=st.sampled_from([1, 3, 7]),
    stride=st.sampled_from([1, 2]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    values=st.sampled_from(["spikes", "integers", "analog"]),
    seed=st.integers(0, 2**16),
)
def test_output_and_gradients_equal_torch_in_float64(
    count: int,
    channels: int,
    features: int,
    size: tuple[int, int],
    kernel: int,
    stride: int,
    density: float,
    values: str,
    seed: int,
) -> None:
    case = make(
        count, channels, features, size, kernel=kernel, stride=stride, density=density, values=values, seed=seed
    )
    exact = results(plain, *(tensor.double() for tensor in case), stride)
    for found, expected in zip(results(eventconv.convolve, *case, stride), exact, strict=True):
        # Of what the sums are made of: where nothing fires, the gradient of the weights is 0.
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max().clamp_min(1.0)


@needs_library
@pytest.mark.parametrize(("count", "channels", "side"), [(64, 16, 16), (64, 32, 8), (64, 64, 4), (8, 128, 32)])
def test_sums_of_events_are_as_exact_as_torchs(count: int, channels: int, side: int) -> None:
    """Output and gradient of the weights; that of the inputs by Winograd's algorithm is somewhat less so."""
    case = make(count, channels, channels, (side, side))
    exact = results(plain, *(tensor.double() for tensor in case))
    ours, torchs = results(eventconv.convolve, *case), results(plain, *case)
    errors = [
        [(found - expected).square().mean() for found, expected in zip(r, exact, strict=True)] for r in (ours, torchs)
    ]
    assert errors[0][0] <= 1.05 * errors[1][0]  # the same number of terms, in another order
    assert errors[0][2] <= errors[1][2]
    assert (ours[1] - exact[1]).abs().max() < 1e-5 * exact[1].abs().max()


CASES = [
    (channels, features, side, kernel, stride, density, values)
    for channels, features, side, kernel, stride in [
        (16, 16, 9, 3, 1), (3, 16, 10, 3, 1), (8, 16, 8, 3, 2), (16, 32, 8, 1, 2), (32, 32, 4, 3, 1),
        (64, 64, 2, 3, 1), (64, 100, 1, 1, 1), (128, 192, 4, 3, 1), (20, 12, 6, 3, 2), (4, 4, 7, 3, 1),
    ]
    for density in (0.0, 0.1, 0.45, 1.0)
    for values in ("spikes", "integers", "analog")
]  # fmt: skip


def digest() -> str:
    """SHA-256 of outputs and of both gradients of all cases; narrow layers, which torch has no part in."""
    total = hashlib.sha256()
    for seed, (channels, features, side, kernel, stride, density, values) in enumerate(CASES):
        if (kernel, stride) != (3, 1) and max(channels, features) > eventconv.NARROW:
            continue
        # Not torch's generator: what it draws depends on the processor.
        generator = torch.arange(1, 300_000, dtype=torch.int64)
        drawn = (generator * 2_654_435_761 + seed * 40_503) % 2**32 // 2**12
        shape = (5, channels, side, side)
        size = 5 * channels * side * side
        x = drawn[:size].remainder(1000).lt(round(density * 1000)).float()
        if values == "integers":
            x *= drawn[:size].remainder(3) + 1
        if values == "analog":
            x *= (drawn[:size].remainder(2001) - 1000).float() / 512
        weight = ((drawn[: features * channels * kernel * kernel].remainder(4001) - 2000).float() / 1024).view(
            features, channels, kernel, kernel
        )
        out = (side - 1) // stride + 1
        upstream = ((drawn[: 5 * features * out * out].remainder(3001) - 1500).float() / 768).view(
            5, features, out, out
        )
        case = (x.view(shape), weight, upstream)
        for tensor in results(eventconv.convolve, *(each.to(memory_format=LAST) for each in case), stride):
            total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


GOLDEN = "7075cf5a454118a35434d2e141487193600fdf2eea85a0541341164d4f1d919e"


@needs_library
def test_bits_are_the_same_on_every_processor() -> None:
    assert digest() == GOLDEN


@pytest.fixture
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    flags = BUILDS[request.param]
    compiled = eventconv.library(*flags), eventconv.winograd(*flags)
    monkeypatch.setattr(eventconv, "library", lambda: compiled[0])
    monkeypatch.setattr(eventconv, "winograd", lambda: compiled[1])
    yield


@needs_library
@pytest.mark.parametrize("build", BUILDS, indirect=True)
@pytest.mark.usefixtures("build")
def test_bits_do_not_depend_on_how_it_is_compiled_nor_on_what_counts_as_sparse() -> None:
    assert digest() == GOLDEN


@needs_library
def test_the_number_of_threads_does_not_change_a_bit() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert digest() == GOLDEN
    finally:
        torch.set_num_threads(before)


@needs_library
@pytest.mark.parametrize("side", [8, 7])
def test_the_batch_does_not_change_the_bits_of_an_image(side: int) -> None:
    x, weight, upstream = make(300, 16, 32, (side, side))
    output, of_x, _ = results(eventconv.convolve, x, weight, upstream)
    for image in (0, 150, 299):
        alone = results(eventconv.convolve, x[image : image + 1], weight, upstream[image : image + 1])
        assert torch.equal(alone[0][0], output[image]) and torch.equal(alone[1][0], of_x[image])


@needs_library
def test_contiguous_weights_give_the_same_bits() -> None:
    x, weight, upstream = make(2, 32, 48, (9, 8))
    found = results(eventconv.convolve, x, weight.contiguous(), upstream.contiguous())
    assert all(map(torch.equal, found, results(eventconv.convolve, x, weight, upstream)))


@needs_library
def test_a_spike_is_kept_as_a_bit() -> None:
    x, weight, _ = make(2, 32, 32, (16, 16))
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        eventconv.convolve(x, weight.requires_grad_())
    assert sum(t.nbytes for t in kept if t.data_ptr() != weight.data_ptr()) == x.numel() / 8


@needs_library
def test_sums_of_spikes_are_kept_as_bytes() -> None:
    x, weight, _ = make(2, 32, 32, (16, 16), values="integers")
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        eventconv.convolve(x, weight.requires_grad_())
    assert sum(t.nbytes for t in kept if t.data_ptr() != weight.data_ptr()) == x.numel() / 8 + x.numel()


@needs_library
def test_gradients_that_nobody_asked_for_are_not_made() -> None:
    x, weight, upstream = make(2, 32, 32, (8, 8))
    eventconv.convolve(x, weight.requires_grad_()).backward(upstream)
    assert x.grad is None
    assert weight.grad is not None


@needs_library
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_equals_torchs(bias: bool) -> None:
    torch.manual_seed(0)
    layer = layers.Linear(48, 10, bias=bias)
    x = (torch.rand(30, 48) < 0.2).float().requires_grad_()
    found = layer(x)
    found.square().sum().backward()
    gradients = [x.grad, *(p.grad for p in layer.parameters())]
    exact = nn.Linear(48, 10, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    other = x.detach().double().requires_grad_()
    expected = exact(other)
    expected.square().sum().backward()
    for one, two in zip(
        [found, *gradients], [expected, other.grad, *(p.grad for p in exact.parameters())], strict=True
    ):
        torch.testing.assert_close(one, two.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "case",
    [
        make(2, 3, 128, (8, 8)),
        [tensor.double() for tensor in make(2, 16, 16, (8, 8))],
        [tensor.contiguous() for tensor in make(2, 128, 128, (8, 8))],
        make(1, 1, 8, (256, 256)),
    ],
    ids=["wide first layer", "float64", "wide and contiguous", "large image"],
)
def test_torch_convolves_what_does_not_fit(case: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, _ = case
    conv = EventConv2d(weight.shape[1], weight.shape[0], 3).to(x.dtype)
    with torch.no_grad():
        conv.weight.copy_(weight)
        assert not eventconv.fits(x, weight)
        assert torch.equal(conv(x), plain(x, conv.weight))


@needs_library
def test_an_input_of_other_channels_than_the_weights_is_refused_by_torch() -> None:
    # The compiled code would read other weights, and leave the rest of their gradient as it lay in memory.
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        event_linear(torch.rand(4, 8), torch.rand(5, 32), None)
    with pytest.raises(RuntimeError, match="channels"):
        EventConv2d(8, 4, 3)(torch.rand(1, 4, 6, 6).to(memory_format=LAST))


def test_a_batch_norm_folded_into_it_is_not_forgotten() -> None:
    x, _, _ = make(16, 32, 32, (16, 16))
    conv, norm = EventConv2d(32, 32, 3).eval(), nn.BatchNorm2d(32).eval()
    nn.init.normal_(norm.bias)
    folded = nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
    assert eventconv.fits(x, folded.weight)
    torch.testing.assert_close(folded(x), norm(conv(x)), rtol=1e-4, atol=1e-4)


@needs_library
@pytest.mark.parametrize(
    ("name", "value"),
    [("stride", (3, 3)), ("stride", (1, 2)), ("padding", (0, 0)), ("dilation", (2, 2)), ("groups", 2),
     ("padding_mode", "circular")],
)  # fmt: skip
def test_changed_after_it_was_made_it_is_torchs(name: str, value: Any) -> None:
    x, weight, _ = make(16, 32, 32, (16, 16))
    channels = 32 // value if name == "groups" else 32
    changed, torchs = EventConv2d(32, 32, 3), nn.Conv2d(32, 32, 3, padding=1, bias=False)
    for conv in (changed, torchs):
        conv.weight = nn.Parameter(weight[:, :channels].contiguous())
        setattr(conv, name, value)
        conv._reversed_padding_repeated_twice = [1, 1, 1, 1]
    assert torch.equal(changed(x), torchs(x))


def test_under_autocast_torch_convolves() -> None:
    x, weight, _ = make(2, 32, 32, (16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        assert not eventconv.fits(x, weight)


def test_without_a_compiler_torch_convolves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    eventconv.library.cache_clear()
    try:
        x, weight, _ = make(2, 32, 32, (8, 8))
        assert not eventconv.fits(x, weight)
        conv = EventConv2d(32, 32, 3)
        assert torch.equal(conv(x), plain(x, conv.weight))
        linear = torch.randn(4, 8)
        assert torch.equal(event_linear(linear, linear, None), F.linear(linear, linear))
    finally:
        eventconv.library.cache_clear()


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 2)])
def test_a_convolution_is_torchs_in_keys_and_initial_weights(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    ours = kit.conv(16, 24, kernel, stride)
    torch.manual_seed(0)
    torchs = nn.Conv2d(16, 24, kernel, stride, padding=kernel // 2, bias=False)
    assert ours.state_dict().keys() == torchs.state_dict().keys()
    assert torch.equal(ours.weight, torchs.weight)


def test_under_torch_compile_torch_convolves() -> None:
    x, weight, _ = make(2, 32, 32, (16, 16))
    conv = EventConv2d(32, 32, 3)
    with torch.no_grad():
        conv.weight.copy_(weight)
        assert torch.equal(torch.compile(conv, backend="eager", fullgraph=True)(x), plain(x, conv.weight))
