"""What a module is known to be: what is not known exactly gets the plain path, or is refused.

The layers of torch and of this package are known by their exact class. Any other class says in its own body what it
is, by one of these words; what it does not say is not so. A base class does not answer for a subclass, whose `forward`
may be another.

- `graph_safe = True`: its forward neither waits for the device nor keeps anything in Python from call to call.
- `per_sample = True`: what it gives for a sample does not depend on the other samples of the batch.
- `spiking = True`: neurons give 0 or 1; in any other module, layers send each other spikes, their sums or averages.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

Word = Literal["graph_safe", "per_sample", "spiking"]
_OURS = ("torch.nn.modules.", "tksbench.snn.", "tksbench.train.")


def says(one: Any, word: Word) -> bool:
    """Whether a module, a loss or a function is known to be, or says of itself that it is, what a word means."""
    if "forward" in vars(one):  # replaced in this one object
        return False
    kind = one if isinstance(one, FunctionType) else type(one)  # a function says it by an attribute
    if kind.__module__.startswith(_OURS):
        return bool(getattr(kind, word, True))
    return bool(vars(kind).get(word, False))


def graph_safe(network: nn.Module) -> bool:
    """Whether a network's passes may be recorded as a CUDA graph and replayed without running its Python code."""
    return all(says(module, "graph_safe") for module in network.modules())
