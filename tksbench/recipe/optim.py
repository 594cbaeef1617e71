"""Optimizer and learning rate of a recipe: what every optimizer has, what the built-in ones have, and the schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from tksbench.recipe.catalogue import Component, common, fits, flat


class _Strength(Component):
    """How large its steps are."""

    lr: Annotated[float, Field(gt=0)]  # its peak, at the end of the warm-up; then a cosine, or the schedule
    weight_decay: Annotated[float, Field(ge=0)]  # on the tensors that `decays` says
    decays: Literal["matrices", "all"] = "matrices"  # those of two or more dimensions, as timm; or all
    linear_lr: Annotated[float, Field(gt=0)] | None = None  # the peak of fully connected layers; None: lr


class _Moments(_Strength):
    """Parameters of the built-in ones."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9  # adam and adamw, as the next two
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Annotated[float, Field(gt=0)] = 1e-8
    amsgrad: bool = False  # adam and adamw: divide by the largest second moment so far
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # sgd only, as the next
    nesterov: bool = True  # look ahead by the momentum, as timm's sgd


class _Course(_Strength):
    """How it goes on over epochs and batches."""

    epochs: Annotated[int, Field(ge=1)]
    warmup_epochs: Annotated[int, Field(ge=0)] = 5  # of `epochs`
    warmup_lr: Annotated[float, Field(ge=0)] = 1e-6  # of the first epoch, if there is a warm-up
    min_lr: Annotated[float, Field(ge=0)] = 1e-5  # what the cosine falls to
    cosine_epochs: Annotated[int, Field(ge=1)] | None = None  # in which it falls, to rise again after; None: all epochs
    drop_every: Annotated[int, Field(ge=1)] | None = None  # epochs after which it falls to a tenth; None: the cosine
    batch_size: Annotated[int, Field(ge=1)]  # global: the same however many devices share it
    clip_norm: Annotated[float, Field(gt=0)] | None = None  # that of a longer gradient, all weights together; None: any
    replica_batch: Annotated[int, Field(ge=1)] | None = None  # what one batch norm sees; None: the global batch
    drop_last: bool = True  # a last batch that is not full
    # The learning rate after the warm-up, a component, by its name or with parameters; None: the cosine, or the drops.
    schedule: Annotated[
        SerializeAsAny[Component] | None, fits("schedule"), Field(exclude_if=lambda schedule: schedule is None)
    ] = None


@common("optim")
class OptimSpec(_Course):
    """What every optimizer of a recipe has."""

    def check(self) -> None:
        """Hold its keys against each other.

        Raises:
            ValueError: Two of them do not fit; the message begins with one of these keys.
        """
        if self.replica_batch is not None and self.batch_size % self.replica_batch:
            raise ValueError(
                f"optim.batch_size {self.batch_size} is not a multiple of replica_batch {self.replica_batch}"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"optim.min_lr {self.min_lr} is above optim.lr {self.lr}")
        if self.linear_lr is not None and self.min_lr > self.linear_lr:
            raise ValueError(f"optim.min_lr {self.min_lr} is above optim.linear_lr {self.linear_lr}")
        if self.drop_every is not None and self.cosine_epochs is not None:
            raise ValueError("optim.drop_every and optim.cosine_epochs exclude each other")
        for key in ("drop_every", "cosine_epochs"):
            if self.schedule is not None and getattr(self, key) is not None:
                raise ValueError(f"optim.{key} and optim.schedule exclude each other")
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(f"optim.warmup_epochs {self.warmup_epochs} must be less than optim.epochs {self.epochs}")


@flat("optim")
class BuiltInOptim(OptimSpec, _Moments):
    """Optimizer and per-epoch schedule (TKS:train_main.py:84-136, 222-235; timm factories)."""

    # The bases above put its keys in the order in which records have them.
    name: Literal["adamw", "adam", "sgd"]
