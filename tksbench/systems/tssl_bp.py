"""TSSL-BP (Zhang and Li, "Temporal spike sequence learning via backpropagation for deep SNNs", NeurIPS 2020).

A layer sends not its spikes s but the trace a that a synapse of time constant tau_s makes of them. With current x,

    Du_t = -u / tau_m + x_t;  u += Du_t;  s_t = 1 if u > threshold;  a += (s_t - a) / tau_s;  u = 0 after a spike

Its backward pass is its own. With k_j = (1 - 1 / tau_s)^j / tau_s, e_t = dL/da_t and S_t = sum_j k_j e_{t+j}, for t
from the last step down and c = 0 at first:

    q_t = s_t min(1 / Du_t, 8)                                    how a spike's time moves with the current
    g_t = q_t S_t                                                 inter-neuron term
        + c u_t q_t / tau_m + c (1 - 1 / tau_m) (1 - s_t)         intra-neuron term: reset, and leak to a later spike
    c   = g_t s_t + c (1 - s_t) (1 - 1 / tau_m)
    dL/dx_t = g_t, or f(u_t) S_t where a_t < 1 / (4 tau_s)        sigmoid's derivative, width 0.2, for silent neurons

That is the last form of the public code (stonezwr/TSSL-BP), the neuron `tssl_bp`; what looks like a second division of
k by tau_s there is taken back by a factor. The rule was rewritten at least five times. In the form of October 2020, of
the time of the printed number and here the neuron `tssl_bp_2020`, a reset changes the gradient of the trace itself:
with p the next spike after one at t, and c_t = 0 where there is none,

    c_t = s_t u_t (1 - 1 / tau_m)^(p - t - 1) e_p / tau_m;  S_t = sum_j k_j (e_{t+j} + c_{t+j})
    dL/dx_t = s_t clip(1 / Du_t, -10, 10) S_t, or f(u_t) S_t for the whole layer if it fires at a rate of at most 0.1

The network is CIFARNet: no biases, no norms, pools that sum and amplify, the image filtered by the synapse before its
first convolution. Its loss is `psp_mse`. Its norms are `identity`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.dropout import Dropout
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import ConvNormLIF, Linear, SpikingNetwork, scale_channels
from tksbench.snn.neuron import Neuron, split_time
from tksbench.snn.once_differentiable import once_differentiable

if TYPE_CHECKING:
    from pydantic import Field

STEEPEST = 8.0
"""Bound of 1 / Du, and of the sigmoid's argument."""
STEEPEST_2020 = 10.0
"""Bound of 1 / Du in the form of 2020; the sigmoid's argument has the same one."""
SILENT_RATE = 0.1
"""Mean rate of a layer, over samples and steps, up to which the form of 2020 falls back."""
WIDTH = 0.2
"""Of the sigmoid that stands in where a neuron is silent."""
POOL_GAIN = 4.4
"""A pool of 2 x 2 pixels with weights of 1.1, as a factor on their mean."""
WEIGHT_BOUND = 4.0
INITIAL_GAIN = 5.0
"""On the range of torch's initial weights of a convolution."""
Pattern = Literal["01111", "01011"]
FULL: tuple[tuple[int, bool], ...] = ((128, False), (256, True), (512, True), (1024, False), (512, False))
SMALL: tuple[tuple[int, bool], ...] = ((96, False), (256, True), (384, True), (384, False), (256, False))
"""Channels of the convolutions, and whether a pool follows."""


def synapse(series: Tensor, tau_s: float) -> Tensor:
    """The trace a_t = a_{t-1} (1 - 1 / tau_s) + x_t / tau_s of [T, ...], from 0."""
    a, out = torch.zeros_like(series[0]), []
    for one in series.unbind(0):
        a = a + (one - a) / tau_s
        out.append(a)
    return torch.stack(out)


class _Traces(torch.autograd.Function):
    """All time steps: current to trace."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau_m: float, tau_s: float, threshold: float) -> Tensor:
        steps, u, a = [], torch.zeros_like(current[0]), torch.zeros_like(current[0])
        for x in current.unbind(0):
            change = x - u / tau_m
            u = u + change
            s = (u > threshold).to(u.dtype)
            a = a + (s - a) / tau_s
            steps.append((change, u, s, a))
            u = u * (1.0 - s)
        changes, membranes, spikes, traces = (torch.stack(part) for part in zip(*steps, strict=True))
        ctx.save_for_backward(changes, membranes, spikes, traces)
        ctx.constants = tau_m, tau_s, threshold
        return traces


def _fallback(membranes: Tensor, threshold: float) -> Tensor:
    """The derivative of a sigmoid of width 0.2 around the threshold."""
    e = ((threshold - membranes) / WIDTH).clamp(-STEEPEST, STEEPEST).exp()
    return e / ((1.0 + e).square() * WIDTH)


class _TSSL(_Traces):
    """Back, the last form of the module's docstring."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        changes, membranes, spikes, traces = ctx.saved_tensors
        tau_m, tau_s, threshold = ctx.constants
        kept = 1.0 - 1.0 / tau_m
        # Where a neuron has fired its membrane has risen, so that the change is above 0.
        shift = spikes * torch.where(spikes > 0, changes, 1.0).reciprocal().clamp(max=STEEPEST)
        fallback = _fallback(membranes, threshold)
        silent = traces < 1.0 / (4.0 * tau_s)
        result, sums, carried = torch.empty_like(grad), torch.zeros_like(grad[0]), torch.zeros_like(grad[0])
        for t in range(len(grad) - 1, -1, -1):
            s, q = spikes[t], shift[t]
            sums = grad[t] / tau_s + (1.0 - 1.0 / tau_s) * sums
            g = q * sums + carried * (membranes[t] * q / tau_m + kept * (1.0 - s))
            carried = g * s + carried * (1.0 - s) * kept
            result[t] = torch.where(silent[t], fallback[t] * sums, g)
        return result, None, None, None


class _TSSL2020(_Traces):
    """Back, the form of 2020 of the module's docstring."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        changes, membranes, spikes, _ = ctx.saved_tensors
        tau_m, tau_s, threshold = ctx.constants
        shift = torch.where(spikes > 0, changes, 1.0).reciprocal().clamp(-STEEPEST_2020, STEEPEST_2020) * spikes
        silent = spikes.mean() <= SILENT_RATE
        factor = torch.where(silent, _fallback(membranes, threshold), shift)
        # `later` is (1 - 1 / tau_m)^(p - t - 1) e_p of the next spike p after t.
        result, sums, later = torch.empty_like(grad), torch.zeros_like(grad[0]), torch.zeros_like(grad[0])
        for t in range(len(grad) - 1, -1, -1):
            s, e = spikes[t], grad[t]
            sums = (e + s * membranes[t] * later / tau_m) / tau_s + (1.0 - 1.0 / tau_s) * sums
            later = torch.where(s > 0, e, (1.0 - 1.0 / tau_m) * later)
            result[t] = factor[t] * sums
        return result, None, None, None


@component("neuron", "tssl_bp")
class TSSLNeuron(Neuron):
    """Leaky integrate-and-fire neurons that give the traces of their spikes, with TSSL-BP's backward pass."""

    graph_safe = True
    per_sample = True
    rule: type[_Traces] = _TSSL

    def __init__(
        self,
        *,
        tau_m: Annotated[float, Field(gt=1)] = 5.0,
        tau_s: Annotated[float, Field(ge=1)] = 2.0,
        threshold: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        """Store the constants.

        Args:
            tau_m: Time constant of the membrane, in steps.
            tau_s: Time constant of the synapses, in steps.
            threshold: Above which it fires; it is reset to 0.

        Raises:
            SnnError: A constant is out of range.
        """
        super().__init__()
        if not (tau_m > 1.0 and tau_s >= 1.0 and threshold > 0.0):
            raise SnnError(
                f"tssl_bp: tau_m {tau_m}, tau_s {tau_s}, threshold {threshold}; above 1, at least 1, above 0"
            )
        self.tau_m, self.tau_s, self.threshold = tau_m, tau_s, threshold

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the traces of the spikes, in the shape of `current`; see `Neuron.forward`."""
        series = current if steps is None else split_time(current, steps)
        state = series.to(torch.promote_types(series.dtype, torch.float32))
        traces = cast("Tensor", self.rule.apply(state, self.tau_m, self.tau_s, self.threshold))
        return traces.to(current.dtype).view_as(current)

    def extra_repr(self) -> str:
        """Show the constants in `print(model)`."""
        return f"tau_m={self.tau_m}, tau_s={self.tau_s}, threshold={self.threshold}"


@component("neuron", "tssl_bp_2020")
class TSSLNeuron2020(TSSLNeuron):
    """The same neurons with the backward pass of October 2020, which falls back a layer at a time.

    The rate that decides is that of the batch: of several processes, each takes that of its own samples.
    """

    graph_safe = True
    per_sample = False
    rule = _TSSL2020

    def __init__(
        self,
        *,
        tau_m: Annotated[float, Field(gt=1)] = 5.0,
        tau_s: Annotated[float, Field(ge=1)] = 2.0,
        threshold: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        """Store the constants.

        Args:
            tau_m: Time constant of the membrane, in steps.
            tau_s: Time constant of the synapses, in steps.
            threshold: Above which it fires; it is reset to 0.
        """
        super().__init__(tau_m=tau_m, tau_s=tau_s, threshold=threshold)


@component("model", "tssl_cifarnet")
class TSSLCIFARNet(SpikingNetwork):
    """TSSL-BP's CIFARNet: 44,999,040 parameters at 10 classes and 32 pixels, no biases."""

    graph_safe = True
    per_sample = True
    size = (1.246e9, 0.624e6, 32, 45.00e6, 512)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 5,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 32,
        *,
        small: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        tau_s: Annotated[float, Field(ge=1)] = 2.0,
    ) -> None:
        """Build the network; `SpikingNetwork` explains the options not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on channels and features.
            kit: Where its layers come from; with norms `identity` it has none, as published.
            img_size: Height and width of the images; at least 4.
            small: Take the smaller net of the released configuration, 96C3 to 256C3 and two layers of 1024 features.
            dropout: Share of strips (of features in the last layers) that is dropped, the same at all steps.
            tau_s: Time constant of the synapses that filter the image, in steps.

        Raises:
            SnnError: An option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width)
        if img_size < 4:
            raise SnnError(f"TSSLCIFARNet: img_size is {img_size}; two pools need at least 4")
        self.img_size = img_size
        self.tau_s = tau_s
        self.pooled = [pooled for _, pooled in (SMALL if small else FULL)]
        self.convs, channels = nn.ModuleList(), in_chans
        for full, _ in SMALL if small else FULL:
            out = scale_channels(full, width)
            layer = ConvNormLIF(channels, out, 3, kit=kit)
            weight = cast("Tensor", layer.conv.weight)
            bound = INITIAL_GAIN / weight[0].numel() ** 0.5
            nn.init.uniform_(weight, -bound, bound)
            self.convs.append(layer)
            channels = out
        features = [channels * (img_size // 4) ** 2, scale_channels(1024, width)]
        features += [scale_channels(1024 if small else 512, width), num_classes]
        linears = [Linear(*pair, bias=False) for pair in itertools.pairwise(features)]
        for linear in linears:
            nn.init.kaiming_normal_(linear.weight)
        self.linears = nn.ModuleList(linears)
        # After the first convolution, both pools, the last two convolutions, and all linear layers but the last.
        self.drops = nn.ModuleList(Dropout(dropout, strips=True) for _ in self.convs)
        self.drops.extend(Dropout(dropout) for _ in linears[:-1])
        self.lifs = nn.ModuleList(kit.neuron() for _ in linears)

    def set_progress(self, at: float) -> None:
        """Keep all weights within their bounds; called before every training step."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.clamp_(-WEIGHT_BOUND, WEIGHT_BOUND)

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return the traces of the last neurons, [steps * B, num_classes]."""
        series = x.expand(repeats, *x.shape) if repeats != 1 else split_time(x, steps)
        x = synapse(series, self.tau_s).flatten(0, 1)
        drops = iter(self.drops)
        for layer, pooled in zip(self.convs, self.pooled, strict=True):
            x = layer(x, steps)
            if pooled:
                x = POOL_GAIN * F.avg_pool2d(x, 2)
            x = next(drops)(x, steps)
        x = x.flatten(1)
        for linear, neurons in zip(self.linears, self.lifs, strict=True):
            x = neurons(linear(x), steps)
            drop = next(drops, None)
            x = x if drop is None else drop(x, steps)
        return x


@component("method", "psp_mse")
class PSPMSE:
    """Half the sum of squared differences of the last traces and wanted ones: a pattern of spikes, filtered twice."""

    graph_safe = True

    def __init__(self, *, tau_s: Annotated[float, Field(ge=1)] = 2.0, pattern: Pattern = "01111") -> None:
        """Store the constants.

        Args:
            tau_s: Time constant of the synapses, in steps.
            pattern: Spikes of the true class's neuron, of which the last repeats where there are more steps.
        """
        self.tau_s = tau_s
        self.pattern = [float(spike) for spike in pattern]

    def target(self, like: Tensor) -> Tensor:
        """The wanted trace of the true class, [T], for logits [T, B, C]."""
        steps = len(like)
        spikes = (self.pattern + [self.pattern[-1]] * steps)[:steps]
        series = torch.tensor(spikes, dtype=like.dtype, device=like.device)
        return synapse(synapse(series, self.tau_s), self.tau_s)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, summed over samples, classes and steps.

        Args:
            logits: Traces of the last neurons, [T, B, C].
            target: Class indices, [B].
        """
        labels = F.one_hot(target, logits.shape[2]).to(logits.dtype)
        wanted = self.target(logits).view(-1, 1, 1) * labels
        return 0.5 * (logits - wanted).square().sum()
