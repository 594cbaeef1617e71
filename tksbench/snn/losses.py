"""The training losses of the paper, on per-step logits [T, B, C] and class indices [B]; some take shares [B, C], too.

Everything is computed in float32 at least, in a few passes over the whole tensor, and never makes the host
wait for the device. Equation numbers are the paper's; docs/protocol.md#what-the-code-computes has the authors' code.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.errors import SnnError

if TYPE_CHECKING:
    from pydantic import Field

Aggregation = Literal["sum", "mean", "best", "all"]
Fallback = Literal["uniform", "skip", "ensemble", "onehot"]
CrossEntropy = Literal["mean_logits", "per_step"]
Schedule = Literal["linear_epoch", "linear_iter", "static"]


class Moment(NamedTuple):
    """Where training stands: epoch and step count from 0, a step within its epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int


@component("method", "baseline")
def baseline(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the logits averaged over time (eq. 6; TKS with alpha = 0)."""
    logits = _checked("baseline", logits, target, soft=True)
    return F.cross_entropy(logits.mean(0), target)


baseline.soft_targets = True  # type: ignore[attr-defined]


@component("method", "label_smoothing")
def label_smoothing(logits: Tensor, target: Tensor, eps: Annotated[float, Field(ge=0, lt=1)] = 0.1) -> Tensor:
    """Cross-entropy of the mean logits with smoothed targets.

    (1 - eps) (-log p_y) + eps mean_c(-log p_c), that is eps/C also on the true class. The paper does not state
    eps; 0.1 is the value of the work it cites for label smoothing (docs/protocol.md#the-baselines).

    Args:
        logits: Raw outputs of each time step, [T, B, C].
        target: Class indices [B], or shares of the classes [B, C].
        eps: Taken from the label, spread over all classes.
    """
    _check_range("label_smoothing", "eps", eps, 0.0, 1.0)
    logits = _checked("label_smoothing", logits, target, soft=True)
    return F.cross_entropy(logits.mean(0), target, label_smoothing=eps)


label_smoothing.soft_targets = True  # type: ignore[attr-defined]


@component("method", "tet")
def tet(logits: Tensor, target: Tensor, lamb: Annotated[float, Field(ge=0, le=1)] = 0.0, means: float = 1.0) -> Tensor:
    """Temporal efficient training (Deng et al. 2022): (1 - lamb) mean_t CE(o_t, y) + lamb MSE(o, means).

    `lamb` = 0 is the form in the authors' harness (BrainCog:criterions.py:37-47); `means` is the threshold of
    the official form (TET:functions.py:42-54).

    Args:
        logits: Raw outputs of each time step, [T, B, C].
        target: Class indices [B], or shares of the classes [B, C].
        lamb: Weight of the term that draws each logit to `means`.
        means: See `lamb`.
    """
    _check_range("tet", "lamb", lamb, 0.0, 1.0)
    logits = _checked("tet", logits, target, soft=True)
    loss = _per_step_cross_entropy(F.log_softmax(logits, -1).mean(0), target)
    if lamb == 0.0:
        return loss
    return (1.0 - lamb) * loss + lamb * (logits - means).square().mean()


tet.soft_targets = True  # type: ignore[attr-defined]


@component("method", "tks")
class TKS:
    """Temporal knowledge sharing, equations (3)-(8), with the authors' undocumented choices as flags."""

    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.7,
        temperature: Annotated[float, Field(gt=0)] = 3.0,
        schedule: Schedule = "linear_epoch",
        agg: Aggregation = "sum",
        fallback: Fallback = "uniform",
        detach: bool = False,
        t2: bool = True,
        ce: CrossEntropy = "mean_logits",
    ) -> None:
        """Choose the form of the loss; see `tks`.

        Args:
            alpha: Peak weight of the teacher term.
            temperature: Of the teacher only.
            schedule: How alpha comes to its peak: by the epoch, by the step, or from the beginning.
            agg: The teacher's logits: sum or mean of the right steps', the surest right step's, or the sum of all
                steps'.
            fallback: The teacher where no step is right: equal for all classes, none, the mean of all steps, or the
                label.
            detach: Cut the gradient through the teacher.
            t2: Multiply the teacher term by temperature squared.
            ce: Cross entropy of the mean output, or mean over steps.
        """
        self._alpha, self._schedule = alpha, schedule
        self._loss = functools.partial(
            tks, temperature=temperature, agg=agg, fallback=fallback, detach=detach, t2=t2, ce=ce
        )

    def constants(self, at: Moment) -> dict[str, float]:
        """Today's weight of the teacher term."""
        return {"alpha": alpha_at(self._schedule, self._alpha, *at)}

    def __call__(self, logits: Tensor, target: Tensor, alpha: float) -> Tensor:
        """The loss at a weight of the teacher term."""
        return self._loss(logits, target, alpha)


def tks(
    logits: Tensor,
    target: Tensor,
    alpha: float = 0.35,
    temperature: float = 3.0,
    agg: Aggregation = "sum",
    fallback: Fallback = "uniform",
    detach: bool = False,
    t2: bool = True,
    ce: CrossEntropy = "mean_logits",
) -> Tensor:
    """Temporal knowledge sharing (eqs. 3-8): (1 - alpha) CE + alpha mean_t CE(q, softmax(o_t)).

    The teacher q = softmax(z / temperature) comes from the steps that classify the sample correctly; every
    step is a student (temperature 1). The defaults are what the authors' code computes (TKS:RCNN.py:90-110,
    TKS:train_main.py:734-798); the other choices are the ablations of docs/protocol.md#variants.

    Args:
        logits: Raw outputs of each time step, [T, B, C].
        target: Class indices, [B], int64; soft labels have no "correct step" and are refused.
        alpha: Today's weight of the teacher term (see `alpha_at`), in [0, 1].
        temperature: Softens the teacher; above 0.
        agg: z is the sum of the correct steps' logits, their mean, the correct step with the highest p_y, or
            the sum of all steps whether correct or not (`all`; then no fallback arises).
        fallback: Teacher of a sample that no step classifies correctly: uniform; none (`skip`, contributes 0,
            the divisor stays B T); softmax of the mean logits / temperature (`ensemble`); or the label.
        detach: Cut the gradient through the teacher.
        t2: Multiply the teacher term by temperature squared.
        ce: Cross-entropy of the mean logits (eq. 6), or the mean of the steps' cross-entropies.

    Returns:
        The loss, a scalar.

    Raises:
        SnnError: If shapes or types do not fit, the labels are soft, or an option is out of range.
    """
    _check_range("tks", "alpha", alpha, 0.0, 1.0)
    if not temperature > 0.0:
        raise SnnError(f"tks: temperature is {temperature}; it must be above 0")
    _check_choice("tks", "agg", agg, get_args(Aggregation))
    _check_choice("tks", "fallback", fallback, get_args(Fallback))
    _check_choice("tks", "ce", ce, get_args(CrossEntropy))
    logits = _checked("tks", logits, target)
    log_p = F.log_softmax(logits, -1)
    mean_log_p = log_p.mean(0)
    weights, correct = _teacher_weights(logits, log_p, target, agg)
    teacher, counted = _teacher(logits, target, weights, correct, temperature, fallback)
    if detach:
        teacher = teacher.detach()
    # The teacher is the same for every student, so the mean over time acts on the students' log p alone.
    distillation = (-(teacher * mean_log_p).sum(-1) * counted).mean()
    if t2:
        distillation = distillation * temperature**2
    if ce == "per_step":
        supervised = _per_step_cross_entropy(mean_log_p, target)
    else:
        supervised = F.cross_entropy(logits.mean(0), target)
    return (1.0 - alpha) * supervised + alpha * distillation


def alpha_at(
    schedule: Schedule, alpha: float, epoch: int, epochs: int, iteration: int, iterations_per_epoch: int
) -> float:
    """Weight of the teacher term at one iteration; `epoch` and `iteration` (within the epoch) count from 0.

    Args:
        schedule: `linear_epoch` is alpha * epoch / epochs, constant within an epoch, as the authors' code
            (TKS:train_main.py:780); `linear_iter` rises at every iteration; `static` is alpha throughout.
        alpha: The peak, alpha_max of the paper.
        epoch: Current epoch.
        epochs: Number of epochs.
        iteration: Current iteration of this epoch.
        iterations_per_epoch: Number of iterations of an epoch.
    """
    _check_choice("alpha_at", "schedule", schedule, get_args(Schedule))
    if schedule == "static":
        return alpha
    if schedule == "linear_epoch":
        return alpha * epoch / epochs
    return alpha * (epoch * iterations_per_epoch + iteration) / (epochs * iterations_per_epoch)


def _teacher_weights(logits: Tensor, log_p: Tensor, target: Tensor, agg: str) -> tuple[Tensor, Tensor]:
    """Weights [T, B] of the steps in the teacher, and which samples [B] have a teacher at all."""
    correct = logits.argmax(-1) == target
    some = correct.any(0)
    if agg == "all":
        return torch.ones_like(log_p[..., 0]), torch.ones_like(some)
    if agg == "best":
        index = target.expand(log_p.shape[0], -1).unsqueeze(-1)
        log_p_target = log_p.detach().gather(-1, index).squeeze(-1)
        best = log_p_target.masked_fill(~correct, -torch.inf).argmax(0, keepdim=True)
        return torch.zeros_like(log_p_target).scatter(0, best, 1.0) * some, some
    weights = correct.to(logits.dtype)
    if agg == "mean":
        weights = weights / weights.sum(0).clamp_min(1.0)
    return weights, some


def _teacher(
    logits: Tensor, target: Tensor, weights: Tensor, correct: Tensor, temperature: float, fallback: str
) -> tuple[Tensor, Tensor]:
    """The teacher's probabilities [B, C] and the weight [B] of each sample in the teacher term."""
    z = torch.einsum("tb,tbc->bc", weights, logits)
    counted = torch.ones_like(z[:, 0])
    has_teacher = correct.unsqueeze(-1)
    if fallback == "ensemble":
        z = torch.where(has_teacher, z, logits.mean(0))
    teacher = F.softmax(z / temperature, -1)  # z is 0 without a correct step: uniform, as in the authors' code
    if fallback == "onehot":
        labels = torch.zeros_like(z).scatter(1, target.unsqueeze(1), 1.0)
        teacher = torch.where(has_teacher, teacher, labels)
    elif fallback == "skip":
        counted = correct.to(z.dtype)
    return teacher, counted


def _per_step_cross_entropy(mean_log_p: Tensor, target: Tensor) -> Tensor:
    """Mean over steps and samples of CE(o_t, y), from the log-probabilities [B, C] averaged over time."""
    if target.is_floating_point():
        return -(target * mean_log_p).sum(-1).mean()
    return F.nll_loss(mean_log_p, target)


def _checked(name: str, logits: Tensor, target: Tensor, *, soft: bool = False) -> Tensor:
    """Refuse what does not fit; return the logits in float32, or in float64 if they are."""
    if logits.dim() != 3 or 0 in logits.shape or not logits.is_floating_point():
        raise SnnError(f"{name}: logits are {logits.dtype} {list(logits.shape)}; they must be floating point [T, B, C]")
    if soft and target.is_floating_point() and target.shape == logits.shape[1:]:
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
    if target.is_floating_point() or target.dim() == 2:
        raise SnnError(
            f"{name}: target is {target.dtype} {list(target.shape)}, which are soft labels (mixup, cutmix); "
            f"this loss needs class indices, int64 [{logits.shape[1]}]: switch the mixing augmentation off"
        )
    if target.dtype != torch.int64 or target.shape != logits.shape[1:2]:
        raise SnnError(
            f"{name}: target is {target.dtype} {list(target.shape)}; logits {list(logits.shape)} need class "
            f"indices, int64 [{logits.shape[1]}]"
        )
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check_range(name: str, option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SnnError(f"{name}: {option} is {value}; it must lie in [{low:g}, {high:g}]")


def _check_choice(name: str, option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SnnError(f"{name}: {option} is {value!r}; choose one of {', '.join(choices)}")
