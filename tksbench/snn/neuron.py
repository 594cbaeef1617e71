"""The leaky integrate-and-fire neuron of the paper and its surrogate gradient.

One step of the neuron (docs/protocol.md#the-neuron; BrainCog:node.py:457-472), membrane v = 0 before the first step:

    u_t = v_{t-1} + (I_t - v_{t-1}) / tau        charge (the input is divided by tau as well)
    s_t = 1 if u_t - threshold > 0 else 0        fire, strictly above the threshold
    v_t = u_t * (1 - stopgrad(s_t))              hard reset to 0; no gradient through the reset

The gradient of the step function is QGate's triangle (BrainCog:surrogate.py:183-230 with alpha = 2):
ds/du = max(0, 2 - 4 |u - threshold|), peak 2, half-width 0.5, area 1.

Four implementations compute the same spikes and gradients: `reference` is these equations in plain autograd;
`fused` is one autograd function over all time steps that keeps only u for the backward pass; `native` is the same
in compiled C for float32 on a CPU, keeps only the current, and at tau = 2 has the bits of `fused`; `triton` is that
for CUDA and any type up to float32.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from tksbench.component import component
from tksbench.snn import native
from tksbench.snn.errors import SnnError
from tksbench.snn.once_differentiable import once_differentiable
from tksbench.snn.surrogate import own

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import Field

Backend = Literal["auto", "reference", "fused", "native", "triton"]
BACKENDS: tuple[str, ...] = get_args(Backend)

SURROGATE_PEAK = 2.0
SURROGATE_SLOPE = 4.0

# Neurons a block on a CPU: the passes over a block then find it in the cache, and calls stay few.
CPU_BLOCK = 1 << 17


class QGate(torch.autograd.Function):
    """Heaviside step forward, triangle backward; the argument is u - threshold."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return 1 where `x` is strictly positive, else 0, in the type of `x`."""
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Multiply by max(0, 2 - 4 |x|)."""
        (x,) = ctx.saved_tensors
        slope: Tensor = (SURROGATE_PEAK - SURROGATE_SLOPE * x.abs()).clamp_min(0.0)
        return grad * slope


def qgate(x: Tensor) -> Tensor:
    """Spikes of `x` = u - threshold (any shape), differentiable through the triangle surrogate."""
    return cast("Tensor", QGate.apply(x))


def lif(current: Tensor, tau: float = 2.0, threshold: float = 0.5, backend: Backend = "auto") -> Tensor:
    """Run a layer of LIF neurons over time, from a zero membrane.

    Args:
        current: Input current, [T, ...], time first, floating point.
        tau: Membrane time constant in time steps, at least 1.
        threshold: Firing threshold (reset value 0).
        backend: `reference` (plain autograd), `fused` (one node of the graph), `native` (compiled, one pass over
            the data), `triton` (that on CUDA), or `auto`: native or triton where they can be had, else fused; but
            reference while torch.compile traces, since the compiler fuses plain equations by itself.

    Returns:
        Spikes, [T, ...], of 0. and 1., in the type of `current`. The membrane is float32 at least.

    Raises:
        SnnError: If the current is not floating point or has no time step, or an option is out of range; or if
            `native` or `triton` is asked for and cannot be had.
    """
    _check(current, tau, threshold, backend)
    if backend == "reference" or (backend == "auto" and torch.compiler.is_compiling()):
        return _lif_reference(current, tau, threshold)
    if backend == "triton" or (backend == "auto" and _suits_triton(current)):
        return cast("Tensor", _TritonLIF.apply(current, tau, threshold, _triton(current)))
    if _use_native(current, backend):
        return cast("Tensor", _NativeLIF.apply(current, tau, threshold))
    if torch.is_grad_enabled() and current.requires_grad:
        return cast("Tensor", _FusedLIF.apply(current, tau, threshold))
    return _fire(current, tau, threshold, keep=False)[0]


def split_time(x: Tensor, steps: int) -> Tensor:
    """View [steps * B, ...], time outermost, as [steps, B, ...]; splitting the first dimension never copies."""
    return x.view(steps, x.shape[0] // steps, *x.shape[1:])


class Neuron(nn.Module):
    """A layer of neurons: features, spike rates and energy are those of the modules that are one.

    A subclass defines `step`, or `forward` as a whole; it keeps no state between calls. A class whose outputs are all
    0 or 1 says `spiking = True` in its body.
    """

    spiking = False

    def step(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One time step.

        Args:
            current: Input current of the step, [B, ...], float32 at least.
            v: The state after the step before it, in the same shape; 0 before the first.

        Returns:
            The output, in the same shape, and the new state.
        """
        raise NotImplementedError

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the output of every step, in the shape and type of `current`.

        Args:
            current: [T, ...]; or, with `steps`, time folded into the batch, time outermost: [steps * B, ...].
            steps: Number of time steps of a folded input.
        """
        series = (current if steps is None else split_time(current, steps)).to(_state_dtype(current.dtype))
        v, out = torch.zeros_like(series[0]), []
        for one in series.unbind(0):
            spikes, v = self.step(one, v)
            out.append(spikes)
        return torch.stack(out).to(current.dtype).view_as(current)


@component("neuron", "lif")
class LIF(Neuron):
    """Leaky integrate-and-fire with hard reset; it has no parameters and no state between calls."""

    spiking = True

    def __init__(
        self,
        tau: Annotated[float, Field(ge=1)] = 2.0,
        threshold: Annotated[float, Field(gt=0)] = 0.5,
        surrogate: Annotated[Callable[[Tensor], Tensor] | None, "surrogate"] = None,
        backend: Backend = "auto",
    ) -> None:
        """Store the constants; `lif` says what they mean.

        Args:
            tau: Membrane time constant in time steps.
            threshold: Above which it fires; it is reset to 0.
            surrogate: Stands for the derivative of the spikes; none is the triangle of QGate, peak 2, half-width 0.5.
            backend: How it is computed.

        Raises:
            SnnError: An option is out of range, or a backend is asked for that has no such surrogate.
        """
        super().__init__()
        _check_options(tau, threshold, backend)
        if surrogate is not None and backend not in ("auto", "reference"):
            raise SnnError(f"lif: backend {backend} has no surrogate but its own; choose auto or reference")
        self.tau = tau
        self.threshold = threshold
        self.surrogate = None if surrogate is None else own(surrogate)
        self.backend = backend

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the spikes of `current`, in its shape; see `Neuron.forward`."""
        series = current if steps is None else split_time(current, steps)
        if self.surrogate is None:
            spikes = lif(series, self.tau, self.threshold, self.backend)
        else:
            _check(series, self.tau, self.threshold, self.backend)
            spikes = _lif_reference(series, self.tau, self.threshold, self.surrogate)
        return spikes if steps is None else spikes.flatten(0, 1)

    def extra_repr(self) -> str:
        """Show the constants in `print(model)`."""
        return f"tau={self.tau}, threshold={self.threshold}, backend={self.backend!r}"


def _check_options(tau: float, threshold: float, backend: str) -> None:
    for name, value in (("tau", tau), ("threshold", threshold)):
        if not isinstance(value, int | float):  # the fast forms would read a learnt value and give it no gradient
            raise SnnError(f"lif: {name} is a {type(value).__name__}; it must be a number")
    if not tau >= 1.0:
        raise SnnError(f"lif: tau is {tau}; it must be at least 1 time step")
    if not threshold > 0.0:
        raise SnnError(f"lif: threshold is {threshold}; it must be above the reset value 0")
    if backend not in BACKENDS:
        raise SnnError(f"lif: unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")


def _check(current: Tensor, tau: float, threshold: float, backend: str) -> None:
    _check_options(tau, threshold, backend)
    if not current.is_floating_point():
        raise SnnError(f"lif: the current has type {current.dtype}; it must be floating point")
    if current.dim() == 0 or current.shape[0] == 0:
        raise SnnError(f"lif: the current has shape {list(current.shape)}; it must be [T, ...] with T >= 1")


def _state_dtype(dtype: torch.dtype) -> torch.dtype:
    # Thresholding a membrane of 8 or 11 significant bits would change spikes (docs/protocol.md#training).
    return torch.promote_types(dtype, torch.float32)


def _lif_reference(
    current: Tensor, tau: float, threshold: float, surrogate: Callable[[Tensor], Tensor] = qgate
) -> Tensor:
    current_state = current.to(_state_dtype(current.dtype))
    v = torch.zeros_like(current_state[0])
    spikes = []
    for step in current_state.unbind(0):
        u = v + (step - v) * (1.0 / tau)
        s = surrogate(u - threshold)
        v = u * (1.0 - s.detach())
        spikes.append(s)
    return torch.stack(spikes).to(current.dtype)


def _use_native(current: Tensor, backend: Backend) -> bool:
    fits = current.device.type == "cpu" and current.dtype == torch.float32
    if backend == "native" and not (fits and native.library()):
        what = "a C compiler" if fits else f"float32 on a CPU, not {current.dtype} on {current.device.type}"
        raise SnnError(f"lif: backend native needs {what}; auto picks what there is")
    return backend != "fused" and fits and native.library() is not None


class _NativeLIF(torch.autograd.Function):
    """All time steps in one pass of compiled code; keeps the current, which the network has made anyway."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau: float, threshold: float) -> Tensor:
        order = _memory_order(current)
        ordered = current.permute(order)
        rows = _rows(ordered).contiguous()
        spikes = torch.empty_like(rows)
        native.forward(rows, spikes, tau, threshold)
        ctx.save_for_backward(rows)
        ctx.order, ctx.tau, ctx.threshold = order, tau, threshold
        return _restore(spikes, ordered.shape, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        ordered = grad.permute(ctx.order)
        result = torch.empty_like(rows)
        upstream = _rows(ordered).contiguous()
        native.backward(rows, upstream, result, ctx.tau, ctx.threshold, SURROGATE_PEAK, SURROGATE_SLOPE)
        return _restore(result, ordered.shape, ctx.order), None, None


def _suits_triton(current: Tensor) -> bool:
    return current.is_cuda and current.dtype != torch.float64 and find_spec("triton") is not None


def _triton(current: Tensor) -> Any:
    """The module of the kernels."""
    where = f"{current.dtype} on {current.device.type}"
    try:
        from tksbench.snn import triton_lif
    except ImportError as error:
        raise SnnError(f"lif: backend triton needs the package triton ({error}); auto does without") from None
    if current.dtype == torch.float64 or not triton_lif.runs_on(current.device):
        raise SnnError(f"lif: backend triton needs float32, bfloat16 or float16 on CUDA, not {where}")
    return triton_lif


class _TritonLIF(torch.autograd.Function):
    """All time steps in one kernel; keeps the current."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau: float, threshold: float, kernels: Any) -> Tensor:
        order = _memory_order(current)
        ordered = current.permute(order)
        rows = _rows(ordered).contiguous()
        ctx.save_for_backward(rows)
        ctx.order, ctx.tau, ctx.threshold, ctx.kernels = order, tau, threshold, kernels
        return _restore(kernels.forward(rows, tau, threshold), ordered.shape, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (rows,) = ctx.saved_tensors
        ordered = grad.permute(ctx.order)
        constants = (ctx.tau, ctx.threshold, SURROGATE_PEAK, SURROGATE_SLOPE)
        result = ctx.kernels.backward(rows, _rows(ordered).contiguous(), *constants)
        return _restore(result, ordered.shape, ctx.order), None, None, None


class _FusedLIF(torch.autograd.Function):
    """All time steps in one node of the graph; keeps u, from which the backward pass recomputes the spikes."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau: float, threshold: float) -> Tensor:
        spikes, membranes = _fire(current, tau, threshold, keep=True)
        ctx.save_for_backward(membranes)
        ctx.order, ctx.dtype, ctx.tau, ctx.threshold = _memory_order(current), current.dtype, tau, threshold
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (membranes,) = ctx.saved_tensors
        ordered = grad.permute(ctx.order)
        upstream = _rows(ordered)
        result = torch.empty(upstream.shape, dtype=ctx.dtype, device=grad.device)
        for block in _blocks(upstream):
            _backward_block(upstream[:, block], membranes[:, block], ctx.tau, ctx.threshold, result[:, block])
        return _restore(result, ordered.shape, ctx.order), None, None


def _fire(current: Tensor, tau: float, threshold: float, *, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Spikes in the shape and memory order of `current`, and u as rows [T, N] if it is to be kept."""
    order = _memory_order(current)
    ordered = current.permute(order)
    rows = _rows(ordered)
    spikes = torch.empty(rows.shape, dtype=current.dtype, device=current.device)
    state = _state_dtype(current.dtype)
    membranes = torch.empty(rows.shape, dtype=state, device=current.device) if keep else None
    for block in _blocks(rows):
        u = None if membranes is None else membranes[:, block]
        _forward_block(rows[:, block], tau, threshold, spikes[:, block], u)
    return _restore(spikes, ordered.shape, order), membranes


def _memory_order(x: Tensor) -> list[int]:
    """Time first, then the dimensions from the widest stride to the narrowest: channels-last stays so."""
    return [0, *sorted(range(1, x.dim()), key=x.stride, reverse=True)]


def _rows(ordered: Tensor) -> Tensor:
    """[T, ...] as [T, N]; a view where the memory order allows (not -1 for N, which fails for an empty batch)."""
    return ordered.reshape(ordered.shape[0], ordered.numel() // ordered.shape[0])


def _restore(rows: Tensor, ordered_shape: torch.Size, order: list[int]) -> Tensor:
    """Undo the flattening and the permutation of `_memory_order` without a copy."""
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return rows.view(ordered_shape).permute(inverse)


def _blocks(rows: Tensor) -> list[slice]:
    """Blocks of neurons that are worked on one after another; a single one off the CPU."""
    neurons = rows.shape[1]
    width = CPU_BLOCK * torch.get_num_threads() if rows.device.type == "cpu" else max(neurons, 1)
    return [slice(start, start + width) for start in range(0, neurons, width)]


def _forward_block(current: Tensor, tau: float, threshold: float, spikes: Tensor, membranes: Tensor | None) -> None:
    """Fill `spikes` and, if given, `membranes` (u before the reset); all are [T, n]."""
    state = _state_dtype(current.dtype)
    current = current.to(state)
    u = torch.empty_like(current[0]) if membranes is None else membranes[0]
    fired, v = torch.empty_like(u), torch.empty_like(u)
    torch.mul(current[0], 1.0 / tau, out=u)  # v is 0
    for t in range(current.shape[0]):
        if t > 0:
            torch.addcmul(u, u, fired, value=-1.0, out=v)
            u = u if membranes is None else membranes[t]
            torch.sub(current[t], v, out=u)
            torch.add(v, u, alpha=1.0 / tau, out=u)
        fired = spikes[t] if spikes.dtype == state else fired
        torch.gt(u, threshold, out=fired)
        if spikes.dtype != state:
            spikes[t].copy_(fired)


def _backward_block(grad: Tensor, membranes: Tensor, tau: float, threshold: float, result: Tensor) -> None:
    """Back-propagate through time: fill `result` = dL/dI from `grad` = dL/ds; all are [T, n].

    With g_t = dL/du_t:  g_t = dL/ds_t * surrogate(u_t) + (1 - s_t) (1 - 1/tau) g_{t+1}  and
    dL/dI_t = g_t / tau. The recursion is linear, so 1/tau is folded into the surrogate.
    """
    direct = result if result.dtype == membranes.dtype else torch.empty_like(membranes)
    peak = torch.tensor(SURROGATE_PEAK / tau, dtype=membranes.dtype)  # 0-dim on the host: works for any device
    torch.sub(membranes, threshold, out=direct)
    torch.sub(peak, direct.abs_(), alpha=SURROGATE_SLOPE / tau, out=direct)
    direct.clamp_min_(0.0).mul_(grad)
    kept = torch.empty_like(membranes[0])
    for t in range(membranes.shape[0] - 2, -1, -1):
        torch.le(membranes[t], threshold, out=kept)
        direct[t].addcmul_(direct[t + 1], kept, value=1.0 - 1.0 / tau)
    if direct is not result:
        result.copy_(direct)
