"""From a component of the spec to what it names: imported, checked, and given its parameters."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, cast

from tksbench.recipe.catalogue import Component, Outside, resolve
from tksbench.recipe.outside import source_digest
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable


def make(slot: str, one: Component, *called_with: Any) -> Callable[..., Any]:
    """What a component is in a run: the object of its class, or its function with its parameters.

    Args:
        slot: Where it stands in the spec.
        one: The component.
        *called_with: Stand-ins for what its function is given besides.

    Raises:
        TrainError: It is from outside the project and cannot be used, or its file is not the one of the spec.
    """
    what = f"{slot} '{one.name}'"
    if isinstance(one, Outside) and one.source != source_digest(one.name):
        raise TrainError(f"{what}: its file was edited since this run was planned; start the launcher again")
    try:
        made = resolve(slot, one)
        if inspect.isclass(made):
            found: Callable[..., Any] = cast("Any", made)(**one.params)
            return found
        inspect.signature(made).bind(*called_with, **one.params)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainError(f"{what} cannot be imported: {error}") from None
    except TypeError as error:
        given = ", ".join((*called_with, "**kwargs"))
        raise TrainError(f"{what} is called with ({given}), but: {error}") from None
    return functools.partial(made, **one.params)
