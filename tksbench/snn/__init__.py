"""The science in plain PyTorch: neurons, networks, losses. Importing it registers the networks with timm."""

from __future__ import annotations

from tksbench.snn import biasfree, cost, losses, neuron, resnet, sew, vgg
from tksbench.snn.errors import SnnError

__all__ = ["SnnError", "biasfree", "cost", "losses", "neuron", "resnet", "sew", "vgg"]
