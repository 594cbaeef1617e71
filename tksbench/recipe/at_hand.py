"""Which data a recipe's `source: auto` stands for on a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tksbench.recipe.catalogue import attributes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe.schema import DataSpec


class AtHand(NamedTuple):
    """What there is of data sets, each asked for by its name.

    Attributes:
        real: Whether its own files are there.
        twin: Whether its twin is, or can be made; asked for sets that have one.
    """

    real: Callable[[str], bool]
    twin: Callable[[str], bool]

    def settle(self, data: DataSpec) -> DataSpec:
        """With the data set itself where it is, else its twin, else stand-in data."""
        twin = has_a_twin(data.name) and self.twin(data.name)
        source = "real" if self.real(data.name) else "twin" if twin else "miniature"
        return data.model_copy(update={"source": source} | ({} if source == "twin" else {"loops": 6}))


EVERY_DATA = tuple(
    AtHand(lambda _, real=real: real, lambda _, twin=twin: twin)  # type: ignore[misc]
    for real, twin in ((True, False), (False, True), (False, False))
)  # what machines can have: all that `auto` may stand for


def has_a_twin(name: object) -> bool:
    """Whether a data set can have a twin."""
    try:
        return isinstance(name, str) and bool(attributes("data", name).get("twin_of"))
    except ValueError:  # a name that is wrong, which the schema says
        return False
