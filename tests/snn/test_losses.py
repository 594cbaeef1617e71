"""The losses against the golden values computed from the authors' definitions (float64, 1e-6)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tksbench.snn.errors import SnnError
from tksbench.snn.losses import TKS, Moment, alpha_at, baseline, label_smoothing, tet, tks

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = torch.tensor([2, 0, 4])
LOSSES: list[Callable[..., Tensor]] = [baseline, label_smoothing, tet, tks]


def golden_logits(requires_grad: bool = False) -> Tensor:
    """o[t, b, c] = 2 sin(1 + 3t + 5b + 7c), T=4, B=3, C=5; 0, 2 and 2 steps are correct for TARGET."""
    t, b, c = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (4, 3, 5)), indexing="ij")
    return (2 * torch.sin(1 + 3 * t + 5 * b + 7 * c)).requires_grad_(requires_grad)


def teacher_term(logits: Tensor, **options: object) -> Tensor:
    return tks(logits, TARGET, alpha=1.0, temperature=3.0, **options)  # type: ignore[arg-type]


def close(value: Tensor, expected: float) -> None:
    assert value.item() == pytest.approx(expected, abs=1e-6)


def plain_tks(logits: Tensor, target: Tensor, alpha: float, temperature: float, agg: str, fallback: str) -> Tensor:
    """The definition written out sample by sample."""
    steps, samples, classes = logits.shape
    kd = logits.new_zeros(())
    for b in range(samples):
        y = int(target[b])
        correct = [t for t in range(steps) if int(logits[t, b].argmax()) == y]
        if agg == "best" and correct:
            correct = [max(correct, key=lambda t: float(F.softmax(logits[t, b].detach(), 0)[y]))]
        if agg == "all":
            correct = list(range(steps))
        if correct:
            z = torch.stack([logits[t, b] for t in correct]).sum(0) / (len(correct) if agg == "mean" else 1)
            q = F.softmax(z / temperature, 0)
        elif fallback == "skip":
            continue
        elif fallback == "onehot":
            q = F.one_hot(target[b], classes).to(logits.dtype)
        elif fallback == "ensemble":
            q = F.softmax(logits[:, b].mean(0) / temperature, 0)
        else:
            q = torch.full((classes,), 1 / classes, dtype=logits.dtype)
        for t in range(steps):
            kd = kd - (q * F.log_softmax(logits[t, b], 0)).sum() / (steps * samples)
    ce = F.cross_entropy(logits.mean(0), target)
    return (1 - alpha) * ce + alpha * temperature**2 * kd


def test_baseline_is_the_cross_entropy_of_the_mean() -> None:
    close(baseline(golden_logits(), TARGET), 1.602285)


def test_label_smoothing_on_the_mean() -> None:
    close(label_smoothing(golden_logits(), TARGET, eps=0.1), 1.603323)


def test_tet_without_regulariser() -> None:
    close(tet(golden_logits(), TARGET), 2.219186)


def test_tet_with_regulariser() -> None:
    logits = golden_logits()
    expected = 0.95 * 2.219186 + 0.05 * (logits - 1.0).square().mean().item()
    close(tet(logits, TARGET, lamb=0.05), expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 19.891362),
        ({"t2": False}, 2.210151),
        ({"agg": "mean"}, 19.964813),
        ({"fallback": "skip"}, 13.512686),
    ],
)
def test_teacher_term(options: dict[str, object], expected: float) -> None:
    close(teacher_term(golden_logits(), **options), expected)


def test_total_loss_half_way_through_training() -> None:
    alpha = alpha_at("linear_epoch", 0.7, epoch=300, epochs=600, iteration=0, iterations_per_epoch=390)
    close(tks(golden_logits(), TARGET, alpha=alpha, temperature=3.0), 8.003462)


@pytest.mark.parametrize(
    ("detach", "expected"),
    [
        (True, [0.102190, -0.036981, -0.030937, -0.021732, -0.012539]),
        (False, [0.085341, -0.046647, -0.030144, -0.014602, 0.006051]),
    ],
)
def test_gradient_of_the_teacher_term(detach: bool, expected: list[float]) -> None:
    logits = golden_logits(requires_grad=True)
    teacher_term(logits, detach=detach).backward()
    assert logits.grad is not None
    assert logits.grad[1, 1].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_teacher_itself() -> None:
    # With a detached teacher the gradient of the term at o_t is (softmax(o_t) - q) tau^2 / (B T): solve for q.
    logits = golden_logits(requires_grad=True)
    teacher_term(logits, detach=True).backward()
    assert logits.grad is not None
    q = F.softmax(logits.detach()[1, 1], 0) - logits.grad[1, 1] * 12 / 9
    assert q.tolist() == pytest.approx([0.526357, 0.212698, 0.094740, 0.069258, 0.096947], abs=1e-6)


@pytest.mark.parametrize(
    ("agg", "fallback"),
    list(itertools.product(["sum", "mean", "best", "all"], ["uniform", "skip", "ensemble", "onehot"])),
)
def test_every_variant_equals_the_written_out_definition(agg: str, fallback: str) -> None:
    logits, plain = golden_logits(requires_grad=True), golden_logits(requires_grad=True)
    loss = tks(logits, TARGET, 0.3, 5.0, agg=agg, fallback=fallback)  # type: ignore[arg-type]
    expected = plain_tks(plain, TARGET, 0.3, 5.0, agg, fallback)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(logits.grad, plain.grad, rtol=1e-10, atol=1e-12)


def test_the_supervised_term_can_be_per_step() -> None:
    close(tks(golden_logits(), TARGET, alpha=0.0, ce="per_step"), 2.219186)


def test_tks_without_teacher_is_the_baseline() -> None:
    close(tks(golden_logits(), TARGET, alpha=0.0), 1.602285)


def test_one_time_step_is_allowed() -> None:
    assert torch.isfinite(tks(golden_logits()[:1], TARGET))


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_logits_are_computed_in_single(loss: Callable[..., Tensor]) -> None:
    logits = golden_logits().bfloat16()
    value = loss(logits, TARGET)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.float(), TARGET))


@pytest.mark.parametrize("loss", LOSSES)
def test_double_precision_stays_double(loss: Callable[..., Tensor]) -> None:
    assert loss(golden_logits(), TARGET).dtype == torch.float64


SOFT, MANY, WHOLE = torch.full((4, 10), 0.1), torch.ones(10), torch.ones(4, 10).long()


@pytest.mark.parametrize(
    ("loss", "target"), [(tks, SOFT), *((loss, target) for loss in LOSSES for target in (MANY, WHOLE))]
)
def test_soft_labels_are_refused(loss: Callable[..., Tensor], target: Tensor) -> None:
    # T = B and C = 10: shapes that would broadcast silently
    with pytest.raises(SnnError, match="soft labels"):
        loss(torch.zeros(10, 4, 10), target)


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(3, 5), TARGET, r"must be floating point \[T, B, C\]"),
        (torch.zeros(4, 3, 5).long(), TARGET, "must be floating point"),
        (torch.zeros(0, 3, 5), TARGET, "must be floating point"),
        (torch.zeros(4, 2, 5), TARGET, r"need class indices, int64 \[2\]"),
        (torch.zeros(4, 3, 5), TARGET.int(), r"need class indices, int64 \[3\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(logits: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(SnnError, match=message):
        tks(logits, target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, r"alpha is 1.5; it must lie in \[0, 1\]"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"agg": "median"}, "agg is 'median'; choose one of sum, mean, best, all"),
        ({"fallback": "none"}, "fallback is 'none'; choose one of uniform, skip, ensemble, onehot"),
        ({"ce": "sum"}, "ce is 'sum'"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(SnnError, match=message):
        tks(golden_logits(), TARGET, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "epoch", "iteration", "expected"),
    [
        ("linear_epoch", 0, 0, 0.0),
        ("linear_epoch", 300, 389, 0.35),
        ("linear_epoch", 599, 0, 0.7 * 599 / 600),
        ("linear_iter", 0, 0, 0.0),
        ("linear_iter", 300, 195, 0.7 * 300.5 / 600),
        ("static", 0, 0, 0.7),
    ],
)
def test_schedule_of_alpha(schedule: str, epoch: int, iteration: int, expected: float) -> None:
    value = alpha_at(schedule, 0.7, epoch, 600, iteration, 390)  # type: ignore[arg-type]
    assert value == pytest.approx(expected, abs=1e-12)


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(SnnError, match="schedule is 'cosine'; choose one of linear_epoch, linear_iter, static"):
        alpha_at("cosine", 0.7, 0, 600, 0, 390)  # type: ignore[arg-type]


def test_the_component_of_the_loss_has_the_weight_of_the_moment_and_its_choices() -> None:
    component = TKS(alpha=0.6, schedule="linear_iter", temperature=2.0, agg="mean", fallback="skip", t2=False)
    constants = component.constants(Moment(1, 4, 1, 2))
    assert constants == pytest.approx({"alpha": 0.6 * 3 / 8})
    logits, target = torch.randn(3, 4, 5), torch.arange(4)
    close(component(logits, target, **constants), tks(logits, target, 0.225, 2.0, "mean", "skip", t2=False).item())


@pytest.mark.parametrize(("agg", "steps"), [("sum", 1), ("mean", 1), ("mean", 2), ("best", 1)])
def test_a_teacher_of_few_steps_is_those_steps(agg: str, steps: int) -> None:
    # One sample whose label only the first steps give; equal steps, so that sum, mean and best of one are the same.
    right, wrong = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.0, 3.0, 1.0])
    logits = torch.stack([right] * steps + [wrong] * (3 - steps)).unsqueeze(1)
    q = F.softmax(right / 2.0, 0)
    expected = -(q * F.log_softmax(logits, -1).mean((0, 1))).sum()
    close(tks(logits, torch.tensor([0]), 1.0, 2.0, agg=agg, t2=False), expected.item())  # type: ignore[arg-type]


def test_defaults_are_those_of_the_authors_code() -> None:
    written = {"alpha": 0.35, "temperature": 3.0, "agg": "sum", "fallback": "uniform", "detach": False, "t2": True}
    logits = golden_logits()
    assert torch.equal(tks(logits, TARGET), tks(logits, TARGET, **written, ce="mean_logits"))  # type: ignore[arg-type]
    assert torch.equal(label_smoothing(logits, TARGET), label_smoothing(logits, TARGET, eps=0.1))
    assert torch.equal(tet(logits, TARGET), tet(logits, TARGET, lamb=0.0, means=1.0))
    assert torch.equal(tet(logits, TARGET, lamb=0.5), tet(logits, TARGET, lamb=0.5, means=1.0))


def test_tet_can_be_its_regulariser_alone() -> None:
    logits = golden_logits()
    close(tet(logits, TARGET, lamb=1.0, means=0.5), (logits - 0.5).square().mean().item())


def test_a_teacher_may_be_sharper_than_its_students() -> None:
    logits = golden_logits()
    expected = plain_tks(logits, TARGET, 0.3, 0.5, "sum", "uniform")
    close(tks(logits, TARGET, alpha=0.3, temperature=0.5), expected.item())


@pytest.mark.parametrize("agg", ["sum", "mean", "best", "all"])
def test_one_class_is_enough(agg: str) -> None:
    assert tks(torch.zeros(2, 3, 1), torch.zeros(3, dtype=torch.int64), agg=agg) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "option"), [(label_smoothing, "eps"), (tet, "lamb"), (tks, "alpha")], ids=["label_smoothing", "tet", "tks"]
)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_0_and_1(loss: Callable[..., Tensor], option: str, value: float) -> None:
    with pytest.raises(SnnError, match=rf"^{loss.__name__}: {option} is {value}; it must lie in \[0, 1\]$"):
        loss(golden_logits(), TARGET, **{option: value})


@pytest.mark.parametrize("option", ["agg", "fallback", "ce"])
def test_a_choice_is_named_with_its_loss(option: str) -> None:
    with pytest.raises(SnnError, match=f"^tks: {option} is 'x'; choose one of "):
        tks(golden_logits(), TARGET, **{option: "x"})  # type: ignore[arg-type]


def test_a_schedule_is_named_with_its_function() -> None:
    with pytest.raises(SnnError, match=r"^alpha_at: schedule is 'x'"):
        alpha_at("x", 0.7, 0, 1, 0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", LOSSES)
def test_what_does_not_fit_is_named_with_the_loss(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(SnnError, match=f"^{loss.__name__}: logits are "):
        loss(torch.zeros(3, 5), TARGET)


def test_soft_labels_are_told_what_to_do() -> None:
    with pytest.raises(SnnError, match=r"needs class indices, int64 \[4\]: switch the mixing augmentation off$"):
        tks(torch.zeros(2, 4, 10), torch.ones(4, 10))
