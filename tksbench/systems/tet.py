"""TET (Deng et al., "Temporal efficient training of spiking neural network via gradient re-weighting", ICLR 2022).

Its loss is the method `tet`: (1 - lambda) mean_t CE(o_t, y) + lambda MSE(o, V_th), equations 9, 12 and 13. Its neurons
are `iterative_lif` with decay 1/2, threshold 1 and the triangle of height 1; its batch norms are plain ones over all
time steps. ResNet-19 is `resnet19` with `scaled: false`; here is the VGG of its public code.
"""

from __future__ import annotations

from dataclasses import replace

from tksbench.component import component
from tksbench.snn.kit import PLAIN, Kit, conv_with_bias
from tksbench.snn.vgg import VGGSNN


@component("model", "vgg_snn_bias")
class BiasedVGGSNN(VGGSNN):
    """VGG-SNN whose convolutions have a bias: 9,271,498 parameters at 10 classes and 48 pixels."""

    graph_safe = True
    per_sample = True
    spiking = True
    size = (1.362e9, 0.9216e6, 48, 9.271e6, 4609)

    def __init__(
        self,
        num_classes: int = 10,
        T: int = 10,
        in_chans: int = 2,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 48,
    ) -> None:
        """Build the network; `VGGSNN` explains the options."""
        super().__init__(num_classes, T, in_chans, width, replace(kit, conv=conv_with_bias), img_size)
