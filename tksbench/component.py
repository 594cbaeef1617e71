"""How a class or function offers itself to recipes; imports nothing, so that any file can."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Made = TypeVar("Made")


def component(slot: str, name: str) -> Callable[[Made], Made]:
    """Offer the class or function below for a slot of recipes.

    Its parameters are what a recipe may say beside the name. A plan reads this line and the signature below it as text
    (`tksbench.recipe.catalogue`), so both are written plainly: two strings here, types and defaults there.

    Args:
        slot: Key of a recipe: `method`, `model`, `neuron`, `norm` or `surrogate`.
        name: What recipes call it. Once published it stays: records name it.
    """
    return lambda made: made
