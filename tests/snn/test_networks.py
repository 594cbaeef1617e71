"""The networks against the paper's counts, shapes and initialisations, and the laws that both layouts keep."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

import tksbench.snn  # noqa: F401
from tksbench.snn.errors import SnnError
from tksbench.snn.layers import SpikingNetwork, scale_channels
from tksbench.snn.neuron import LIF
from tksbench.snn.normlif import batch_norm_repeated

STATIC = ["spiking_resnet19", "sew_resnet18", "sew_resnet19", "sew_resnet34", "sew_resnet50"]
EVERY = [*STATIC, "vgg_snn"]

PARAMETERS = [
    ("spiking_resnet19", 10, 12_698_250),
    ("spiking_resnet19", 100, 12_721_380),
    ("sew_resnet19", 10, 12_630_858),
    ("sew_resnet19", 100, 12_653_988),
    ("sew_resnet18", 1000, 11_689_512),
    ("sew_resnet18", 200, 11_279_112),
    ("sew_resnet18", 120, 11_238_072),
    ("sew_resnet18", 196, 11_277_060),
    ("sew_resnet34", 1000, 21_797_672),
    ("sew_resnet34", 200, 21_387_272),
    ("sew_resnet34", 120, 21_346_232),
    ("sew_resnet34", 196, 21_385_220),
    ("sew_resnet50", 1000, 25_557_032),
    ("vgg_snn", 10, 9_268_746),
    ("vgg_snn", 101, 9_688_165),
    ("vgg_snn", 100, 9_683_556),
]

LIF_LAYERS = {
    "spiking_resnet19": 18,
    "sew_resnet19": 21,
    "sew_resnet18": 20,
    "sew_resnet34": 36,
    "sew_resnet50": 53,
    "vgg_snn": 8,
}


def build(name: str, **options: object) -> SpikingNetwork:
    torch.manual_seed(0)
    model = timm.create_model(name, **options)
    assert isinstance(model, SpikingNetwork)
    return model


def tiny(name: str, **options: object) -> SpikingNetwork:
    options = {"num_classes": 5, "width": 0.125, "T": 3} | options
    return build(name, **options, **({"img_size": 16} if name == "vgg_snn" else {}))


def wake_head(model: SpikingNetwork) -> SpikingNetwork:
    """Let the 256-feature head fire: freshly initialised, its currents are too small to."""
    with torch.no_grad():
        model.get_submodule("fc1").get_parameter("weight").mul_(50)
    return model


def images(name: str, *leading: int, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*leading, 2 if name == "vgg_snn" else 3, size, size, generator=generator)


def shapes_through(model: SpikingNetwork, modules: list[nn.Module], x: Tensor) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []
    handles = [m.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:]))) for m in modules]
    model(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize(("name", "num_classes", "count"), PARAMETERS)
def test_parameter_count(name: str, num_classes: int, count: int) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=num_classes)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(
    ("name", "part", "count"),
    [
        ("spiking_resnet19", ["stem"], 3_712),
        ("spiking_resnet19", ["blocks.0", "blocks.1", "blocks.2"], 886_528),
        ("spiking_resnet19", ["blocks.3", "blocks.4", "blocks.5"], 3_280_384),
        ("spiking_resnet19", ["blocks.6", "blocks.7"], 8_393_728),
        ("spiking_resnet19", ["fc1", "fc2"], 131_328 + 257 * 10),
        ("sew_resnet19", ["stem"], 1_856),
        ("sew_resnet19", ["blocks.0", "blocks.1", "blocks.2"], 820_992),
        ("sew_resnet19", ["blocks.3", "blocks.4", "blocks.5"], 3_280_384),
        ("sew_resnet19", ["blocks.6", "blocks.7"], 8_393_728),
        ("vgg_snn", ["fc"], 46_090),
    ],
)
def test_parameter_count_of_each_stage(name: str, part: list[str], count: int) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=10)
    assert sum(p.numel() for module in part for p in model.get_submodule(module).parameters()) == count


@pytest.mark.parametrize(("name", "count"), LIF_LAYERS.items())
def test_number_of_neuron_layers(name: str, count: int) -> None:
    with torch.device("meta"):
        model = build(name)
    assert sum(isinstance(module, LIF) for module in model.modules()) == count


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("spiking_resnet19", 32, [(128, 32, 32)] * 4 + [(256, 16, 16)] * 3 + [(512, 8, 8)] * 2),
        ("sew_resnet19", 32, [(64, 32, 32)] + [(128, 32, 32)] * 3 + [(256, 16, 16)] * 3 + [(512, 8, 8)] * 2),
        (
            "sew_resnet18",
            224,
            [(64, 112, 112)] + [(64, 56, 56)] * 2 + [(128, 28, 28)] * 2 + [(256, 14, 14)] * 2 + [(512, 7, 7)] * 2,
        ),
        (
            "sew_resnet34",
            224,
            [(64, 112, 112)] + [(64, 56, 56)] * 3 + [(128, 28, 28)] * 4 + [(256, 14, 14)] * 6 + [(512, 7, 7)] * 3,
        ),
        (
            "sew_resnet50",
            224,
            [(64, 112, 112)] + [(256, 56, 56)] * 3 + [(512, 28, 28)] * 4 + [(1024, 14, 14)] * 6 + [(2048, 7, 7)] * 3,
        ),
    ],
)
def test_shape_after_each_block(name: str, size: int, expected: list[tuple[int, ...]]) -> None:
    with torch.device("meta"):
        model = build(name, T=1).eval()
        x = torch.empty(1, 3, size, size)
    modules = [model.get_submodule("stem"), *model.get_submodule("blocks").children()]
    assert shapes_through(model, modules, x) == expected


def test_shape_after_each_layer_of_the_vgg() -> None:
    with torch.device("meta"):
        model = build("vgg_snn").eval()
        x = torch.empty(1, 2, 2, 48, 48)
    layers = [layer for stage in model.get_submodule("stages").children() for layer in stage.children()]
    expected = [(64, 48, 48), (128, 48, 48), *[(256, 24, 24)] * 2, *[(512, 12, 12)] * 2, *[(512, 6, 6)] * 2]
    assert shapes_through(model, layers, x) == expected


def test_resnet19_norms_start_at_the_threshold() -> None:
    model = build("spiking_resnet19")
    weights = {name: module.weight for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert len(weights) == 1 + 16 + 3
    for name, weight in weights.items():
        expected = 0.5 if name.endswith("bn1") else 0.5 * 0.5**0.5
        assert weight.detach().allclose(torch.tensor(expected)), name


def test_resnet19_first_block_has_a_norm_alone_as_shortcut() -> None:
    model = build("spiking_resnet19")
    kinds = [
        [type(m).__name__ for m in model.get_submodule(f"blocks.{index}.shortcut").children()] for index in range(8)
    ]
    down = ["StridedConv1x1", "BatchNorm2d"]
    assert kinds == [["BatchNorm2d"], [], [], down, [], [], down, []]


def test_resnet19_outputs_of_blocks_are_binary_and_sew_outputs_are_sums() -> None:
    seen: dict[str, set[float]] = {}
    for name in ("spiking_resnet19", "sew_resnet19"):
        model = tiny(name)
        values: set[float] = set()
        for block in model.get_submodule("blocks").children():
            block.register_forward_hook(lambda _m, _i, out, v=values: v.update(out.unique().tolist()))
        model(images(name, 8))
        seen[name] = values
    assert seen["spiking_resnet19"] == {0.0, 1.0}
    assert {0.0, 1.0, 2.0} <= seen["sew_resnet19"]
    assert all(value == int(value) for value in seen["sew_resnet19"])


@pytest.mark.parametrize("name", ["sew_resnet18", "sew_resnet19"])
def test_sew_convolutions_start_kaiming_fan_out(name: str) -> None:
    model = build(name)
    conv = next(m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.shape[:2] == (512, 256))
    fan_out = conv.out_channels * conv.kernel_size[0] ** 2
    assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.01)


@pytest.mark.parametrize("name", ["spiking_resnet19", "vgg_snn"])
def test_other_convolutions_start_as_pytorch_does(name: str) -> None:
    model = build(name)
    conv = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 10**6][-1]
    bound = (conv.in_channels * 9) ** -0.5
    assert conv.weight.abs().max().item() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


@pytest.mark.parametrize("name", [*STATIC[1:], "vgg_snn"])
def test_other_norms_start_plain(name: str) -> None:
    with torch.device("cpu"):
        model = tiny(name)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(bool((m.weight == 1).all()) and bool((m.bias == 0).all()) for m in norms)


@pytest.mark.parametrize("name", EVERY)
def test_all_convolutions_are_without_bias_and_norms_standard(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.bias is None for m in convs)
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}


@pytest.mark.parametrize("name", EVERY)
def test_static_images_are_repeated_over_time(name: str) -> None:
    """The shortcut of the stem changes nothing: logits, gradients, running statistics."""
    once, repeated = tiny(name).double(), tiny(name).double()
    x = images(name, 4).double()
    upstream = torch.randn(3, 4, 5, dtype=torch.float64)
    out_once, out_repeated = once(x), repeated(x.unsqueeze(1).repeat(1, 3, 1, 1, 1))
    torch.testing.assert_close(out_once, out_repeated, rtol=1e-9, atol=1e-10)
    out_once.backward(upstream)
    out_repeated.backward(upstream)
    for (key, a), (_, b) in zip(once.named_parameters(), repeated.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-9, msg=key)
    for (key, a), (_, b) in zip(once.named_buffers(), repeated.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", EVERY)
def test_default_number_of_steps(name: str) -> None:
    with torch.device("meta"):
        assert (10 if name == "vgg_snn" else 4) == build(name).T


@pytest.mark.parametrize("name", EVERY)
def test_outputs_are_time_first(name: str) -> None:
    model = tiny(name).eval()
    assert model(images(name, 2)).shape == (3, 2, 5)
    assert model(images(name, 2, 6)).shape == (6, 2, 5)


@pytest.mark.parametrize("name", EVERY)
def test_early_outputs_do_not_depend_on_later_frames(name: str) -> None:
    model = tiny(name)
    frames = images(name, 4, 5)
    model(frames)  # so that the running statistics let spikes through
    model.eval()
    torch.testing.assert_close(model(frames)[:2], model(frames[:, :2]))


@pytest.mark.parametrize("name", EVERY)
def test_gradient_reaches_every_parameter(name: str) -> None:
    model = tiny(name, width=0.25, T=4)
    if name in ("spiking_resnet19", "sew_resnet19"):
        wake_head(model)
    model(images(name, 8)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", EVERY)
def test_reference_and_fused_neurons_give_the_same_network(name: str) -> None:
    fused, reference = tiny(name, backend="fused").double(), tiny(name, backend="reference").double()
    x = images(name, 4).double()
    out, expected = fused(x), reference(x)
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    expected.sum().backward()
    for (key, a), (_, b) in zip(fused.named_parameters(), reference.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10, msg=key)


@pytest.mark.parametrize("name", EVERY)
def test_channels_last_goes_through_every_neuron_layer(name: str) -> None:
    model = tiny(name).to(memory_format=torch.channels_last)
    formats: list[bool] = []

    def record(_module: nn.Module, _inputs: object, out: Tensor) -> None:
        spikes = out.flatten(0, 1) if out.dim() == 5 else out
        if spikes.dim() == 4:
            formats.append(spikes.is_contiguous(memory_format=torch.channels_last))

    for module in model.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(record)
    x = images(name, 2, size=16).to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), tiny(name)(x.contiguous()), rtol=1e-3, atol=1e-3)
    assert formats and all(formats)


@pytest.mark.parametrize(
    ("name", "size", "features"),
    [
        ("spiking_resnet19", 32, 256),
        ("sew_resnet19", 32, 256),
        ("sew_resnet18", 224, 512 * 7 * 7),
        ("sew_resnet50", 224, 2048 * 7 * 7),
        ("vgg_snn", 48, 18_432),
    ],
)
def test_size_of_the_features(name: str, size: int, features: int) -> None:
    with torch.device("meta"):
        model = build(name, T=2).eval()
        x = torch.empty(1, 2 if name == "vgg_snn" else 3, size, size)
    assert model.forward_features(x).shape == (1, features)


@pytest.mark.parametrize("name", ["spiking_resnet19", "sew_resnet19"])
def test_features_are_the_spike_rates_before_the_classifier(name: str) -> None:
    model = wake_head(tiny(name))
    classifier = model.get_submodule("fc2" if name == "spiking_resnet19" else "fc")
    x = images(name, 8)
    features = model.forward_features(x)
    assert features.sum() > 0
    # The classifier is linear: applied to rates it gives the mean of the logits.
    torch.testing.assert_close(classifier(features), model(x).mean(0), rtol=1e-4, atol=1e-5)


def test_features_of_a_sew_block_are_spikes_not_sums() -> None:
    model = tiny("sew_resnet18", T=1)
    assert set(model.forward_features(images("sew_resnet18", 8, size=64)).unique().tolist()) == {0.0, 1.0}


def test_features_leave_no_hook_behind() -> None:
    model = tiny("vgg_snn")
    model.forward_features(images("vgg_snn", 2))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(128, 1.0, 128), (512, 1.0, 512), (128, 0.25, 32), (64, 0.3, 20), (64, 0.03, 2), (64, 1e-6, 1)],
)
def test_width_keeps_multiples_of_four(channels: int, width: float, expected: int) -> None:
    assert scale_channels(channels, width) == expected


def test_width_scales_the_head_too() -> None:
    assert build("spiking_resnet19", width=0.25).get_submodule("fc2").in_features == 64


@pytest.mark.parametrize("momentum", [0.1, None])
def test_norm_of_a_repeated_batch(momentum: float | None) -> None:
    norm = nn.BatchNorm2d(3, momentum=momentum).double()
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.running_var)
    plain = copy.deepcopy(norm)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(batch_norm_repeated(norm, x, 5), plain(x.repeat(5, 1, 1, 1))[:2])
    for key, buffer in norm.state_dict().items():
        torch.testing.assert_close(buffer, plain.state_dict()[key], rtol=1e-13, atol=1e-13, msg=key)


def test_norm_of_a_repeated_batch_when_evaluating() -> None:
    norm = nn.BatchNorm2d(3).eval()
    x = torch.randn(2, 3, 2, 2)
    assert torch.equal(batch_norm_repeated(norm, x, 5), norm(x))
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 8, 8), r"shape \[2, 1, 8, 8\]; it must be \[B, 3, H, W\]"),
        (torch.zeros(3, 8, 8), r"it must be \[B, 3, H, W\] \(static\) or \[B, T, 3, H, W\]"),
        (torch.zeros(2, 0, 3, 8, 8), "none of them 0"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "type torch.uint8; convert it to floating point"),
    ],
)
def test_input_that_does_not_fit_is_named(x: Tensor, message: str) -> None:
    with pytest.raises(SnnError, match=message):
        tiny("spiking_resnet19")(x)


def test_vgg_names_the_size_it_was_built_for() -> None:
    with pytest.raises(SnnError, match="the input is 34x34; this network was built for img_size 16x16"):
        tiny("vgg_snn")(torch.zeros(1, 2, 2, 34, 34))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"T": 0}, "T is 0; it must be at least 1"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"in_chans": 0}, "in_chans is 0"),
        ({"width": 0.0}, "width is 0.0; it must be above 0"),
        ({"backend": "cupy"}, "unknown backend 'cupy'"),
        ({"pretrained": True}, "no pretrained weights"),
        ({"img_size": 8}, "img_size is 8; four pools need at least 16"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(SnnError, match=message):
        build("vgg_snn", **options)


@pytest.mark.parametrize("name", EVERY)
def test_under_autocast_the_head_computes_in_float32(name: str) -> None:
    model = tiny(name).eval()
    heads = [one for one in model.modules() if isinstance(one, nn.Linear)]
    assert heads
    seen: list[bool] = []

    def compare(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        with torch.autocast("cpu", enabled=False):
            seen.append(torch.equal(out, nn.functional.linear(inputs[0].float(), layer.weight, layer.bias)))

    for head in heads:
        head.register_forward_hook(compare)
    x = torch.rand(2, 3, 16, 16) if name != "vgg_snn" else torch.rand(2, 3, 2, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x)
    assert logits.dtype == torch.float32
    assert seen == [True] * len(heads)
