"""From a component of the spec to what it names: imported, checked, and given its parameters."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from tksbench.recipe.catalogue import Component, Outside, resolve
from tksbench.recipe.source import source_digest
from tksbench.train.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def maker(
    slot: str, one: Component, called_with: tuple[str, ...] = (), offered: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """A component's class or function with its parameters.

    Args:
        slot: Where it stands in the spec.
        one: The component.
        called_with: What it is going to be given by position, in words.
        offered: What it is given by name if it has such a parameter.

    Raises:
        TrainError: It is from outside the project and cannot be used, or its file is not the one of the spec.
    """
    made = _imported(slot, one)
    accepted = inspect.signature(made).parameters
    anything = any(parameter.kind == parameter.VAR_KEYWORD for parameter in accepted.values())
    given = {key: value for key, value in (offered or {}).items() if key in accepted or anything}
    params = {key: make(key, value) if isinstance(value, Component) else value for key, value in one.params.items()}
    try:
        inspect.signature(made).bind(*called_with, **given, **params)
    except TypeError as error:
        words = ", ".join((*called_with, *given, "**kwargs"))
        raise TrainError(f"{slot} '{one.name}' is called with ({words}), but: {error}") from None
    return functools.partial(made, **given, **params)


def make(
    slot: str, one: Component, called_with: tuple[str, ...] = (), offered: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """What a component is in a run: the object of its class, or its function with its parameters.

    Args:
        slot: Where it stands in the spec.
        one: The component.
        called_with: What it is called with in the end, by position, in words.
        offered: As for `maker`.

    Raises:
        TrainError: As `maker`.
    """
    if not inspect.isclass(_imported(slot, one)):
        return maker(slot, one, called_with, offered)
    made: Callable[..., Any] = maker(slot, one, offered=offered)()
    return made


def check_unedited(slot: str, one: Component) -> None:
    """Make sure that the file of a component from outside is the one that the run was planned with.

    Raises:
        TrainError: It is not.
    """
    if isinstance(one, Outside) and one.digest != source_digest(one.name):
        reason = "its file was edited since this run was planned; start the launcher again"
        raise TrainError(f"{slot} '{one.name}': {reason}")


def _imported(slot: str, one: Component) -> Any:
    what = f"{slot} '{one.name}'"
    check_unedited(slot, one)
    try:
        return resolve(slot, one)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainError(f"{what} cannot be imported: {error}") from None
