"""SEW ResNet (Fang et al., "Deep residual learning in spiking neural networks", NeurIPS 2021).

The networks are `sew_resnet34` and `sew_resnet50`: torchvision's ResNets with neurons after every norm and none after
the sum of a block, whose outputs are so whole numbers above 1, too. The stem is computed once for all steps; the mean
over time comes before the last linear layer in the public code and after it here, which is the same for a linear layer.

Its neuron integrates without a leak, fires at the threshold itself, is reset to 0 with no gradient through the reset,
and has the arctangent's surrogate 1 / (1 + (pi x)^2) (fangwei123456/Spike-Element-Wise-ResNet with SpikingJelly of
2021; the default surrogate of later releases is another).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from tksbench.component import component
from tksbench.snn.iterative import IterativeLIF
from tksbench.snn.surrogate import Arctan

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import Field
    from torch import Tensor


@component("neuron", "integrate_fire")
class IntegrateFire(IterativeLIF):
    """Integrate-and-fire: no leak, fires at the threshold, hard reset."""

    spiking = True
    graph_safe = True
    per_sample = True

    def __init__(
        self,
        *,
        threshold: Annotated[float, Field(gt=0)] = 1.0,
        detach: bool = True,
        surrogate: Annotated[Callable[[Tensor], Tensor] | None, "surrogate"] = None,
    ) -> None:
        """Store the constants.

        Args:
            threshold: From which it fires; it is reset to 0.
            detach: Cut the gradient through the reset.
            surrogate: Stands for the derivative of the spikes; none is the arctangent of height 1.

        Raises:
            SnnError: The threshold is out of range.
        """
        surrogate = Arctan() if surrogate is None else surrogate
        super().__init__(decay=1.0, threshold=threshold, at_threshold=True, detach=detach, surrogate=surrogate)
