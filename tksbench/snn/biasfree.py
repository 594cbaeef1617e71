"""Networks without biases and without norms, which train as ReLU networks and run as spiking ones.

The three public repositories around hybrid training [36], Diet-SNN [42] and optimal conversion [38] share this
"ResNet-20": three convolutions as a stem, eight basic blocks of 64 to 512 channels, 11.25 million parameters at 10
classes. It is not the 16-32-64 network of 0.27 million that He et al. call ResNet-20. Pooling is by averages, dropout
is the only regulariser, with one mask for all steps, and a shortcut that changes the shape is a bare 1x1 convolution.

Sources: Hybrid:self_models/resnet.py, Hybrid:self_models/vgg_spiking.py,
DIET:self_models/resnet_spiking_imagenet.py and OptConv:models/ResNet20.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

from tksbench.component import component
from tksbench.snn.dropout import Dropout
from tksbench.snn.errors import SnnError
from tksbench.snn.kit import PLAIN, Kit
from tksbench.snn.layers import Linear, SpikingNetwork, scale_channels
from tksbench.snn.options import own_options

if TYPE_CHECKING:
    from pydantic import Field

    from tksbench.snn.encoder import Encoder
    from tksbench.snn.neuron import Neuron

STEM = 64
RESNET_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels of each stage and the stride of its first block."""
VGG_LAYERS: dict[str, tuple[int, ...]] = {
    "vgg11": (64, 0, 128, 256, 256, 0, 512, 512, 512, 0, 512, 512),
    "vgg11_ann": (64, 0, 128, 256, 0, 512, 512, 0, 512, 0, 512, 512),
    "vgg16": (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512),
}
"""Channels of each convolution; 0 is a pool in the place of the dropout behind the one before it."""
VGG_HIDDEN = {"vgg11": 1024, "vgg11_ann": 4096, "vgg16": 4096}


class Layer(nn.Module):
    """Synapses and neurons, and the dropout behind them."""

    def __init__(self, synapses: nn.Module, neuron: nn.Module, dropout: Dropout | None = None) -> None:
        """Take the parts."""
        super().__init__()
        self.synapses, self.neuron, self.dropout = synapses, neuron, dropout

    def forward(self, x: Tensor, steps: int, repeats: int = 1) -> Tensor:
        """Return spikes [steps * B, ...]; arguments are those of `ConvNormLIF.forward`."""
        y = self.synapses(x)
        # The same current at every step is computed once, and not copied.
        spikes: Tensor = self.neuron(y.expand(steps, *y.shape)).flatten(0, 1) if repeats > 1 else self.neuron(y, steps)
        return spikes if self.dropout is None else self.dropout(spikes, steps)


class BiasFreeNetwork(SpikingNetwork):
    """What both families share: an encoder of static images, a membrane as readout, and how weights begin."""

    def __init__(
        self, num_classes: int, T: int, in_chans: int, width: float, encoder: Encoder | None, img_size: int
    ) -> None:
        """Check and store the options; `SpikingNetwork` explains those not listed here.

        Args:
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on the channels.
            encoder: What makes spikes of static images; None gives the network the image itself at every step.
            img_size: Height and width of the images, on which a linear layer depends.

        Raises:
            SnnError: If an option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width)
        self.encoder, self.img_size = encoder, img_size
        self.readout: Neuron | None = None  # logits are a membrane's increments; a conversion may let it spike

    def _read_out(self, logits: Tensor, steps: int) -> Tensor:
        return logits if self.readout is None else self.readout(logits, steps)

    def _initialise(self) -> None:
        """Draw N(0, 2 / (k k out)) for convolutions, else N(0, 0.01^2) (Hybrid:self_models/resnet.py:64)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)


class Block(nn.Module):
    """conv-neuron-dropout-conv, the shortcut added, neuron; no dropout behind the sum."""

    after_sum = "neuron2"
    """The neurons behind the sum; a class with this word is a residual block to conversions."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: Dropout, kit: Kit) -> None:
        """Build the block."""
        super().__init__()
        self.conv1 = kit.conv(in_channels, channels, 3, stride)
        self.neuron1 = kit.neuron()
        self.dropout = dropout
        self.conv2 = kit.conv(channels, channels, 3)
        bare = stride == 1 and in_channels == channels
        self.shortcut = None if bare else kit.conv(in_channels, channels, 1, stride)
        self.neuron2 = kit.neuron()

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Map spikes [steps * B, C, H, W] to spikes [steps * B, C', H', W']."""
        y = self.conv2(self.dropout(self.neuron1(self.conv1(x), steps), steps))
        y = y + (x if self.shortcut is None else self.shortcut(x))
        return self.neuron2(y, steps)  # type: ignore[no-any-return]


class BiasFreeResNet(BiasFreeNetwork):
    """A stem of three convolutions, an average pool, four stages of basic blocks, and one linear layer."""

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        *,
        imagenet: bool = False,
        num_classes: int = 10,
        T: int = 1,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 32,
        dropout: float = 0.2,
        encoder: Encoder | None = None,
    ) -> None:
        """Build the network; `BiasFreeNetwork` explains the options not listed here.

        Args:
            depths: Blocks of each stage.
            imagenet: Pool by 3 behind the stem and by 7 before the head; else by 2 and not at all.
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on the channels.
            kit: Where convolutions and neurons come from; there is no norm.
            img_size: Height and width of the images, on which the linear layer depends.
            dropout: Share of the outputs that is dropped in training.
            encoder: What makes spikes of static images.

        Raises:
            SnnError: If an option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width, encoder, img_size)
        self.pool = 3 if imagenet else 2
        side = img_size // self.pool
        if side < 1:
            raise SnnError(f"BiasFreeResNet: img_size is {img_size}; its pool needs at least {self.pool}")
        channels = scale_channels(STEM, width)
        self.stem = nn.ModuleList()
        for number in range(3):
            conv = kit.conv(channels if number else in_chans, channels, 3)
            self.stem.append(Layer(conv, kit.neuron(), Dropout(dropout) if number < 2 else None))
        self.blocks = nn.ModuleList()
        for (full, first), depth in zip(RESNET_STAGES, depths, strict=True):
            out = scale_channels(full, width)
            for number in range(depth):
                stride = 1 if number else first
                self.blocks.append(Block(channels, out, stride, Dropout(dropout), kit))
                channels, side = out, -(-side // stride)
        self.last_pool = min(7, side) if imagenet else 1
        side //= self.last_pool
        self.fc = Linear(channels * side * side, num_classes, bias=False)
        self._initialise()

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        for layer in self.stem:
            x = layer(x, steps, repeats)
            repeats = 1
        x = F.avg_pool2d(x, self.pool)
        for block in self.blocks:
            x = block(x, steps)
        if self.last_pool > 1:
            x = F.avg_pool2d(x, self.last_pool)
        return self._read_out(self.fc(x.flatten(1)), steps)


class BiasFreeVGG(BiasFreeNetwork):
    """Convolutions with three or four average pools, and three linear layers."""

    def __init__(
        self,
        form: str,
        *,
        num_classes: int = 100,
        T: int = 1,
        in_chans: int = 3,
        width: float = 1.0,
        kit: Kit = PLAIN,
        img_size: int = 32,
        dropout: float = 0.2,
        encoder: Encoder | None = None,
    ) -> None:
        """Build the network; `BiasFreeNetwork` explains the options not listed here.

        Args:
            form: Key of `VGG_LAYERS`.
            num_classes: Number of classes.
            T: Time steps.
            in_chans: Channels of the input.
            width: Factor on the channels.
            kit: Where convolutions and neurons come from; there is no norm.
            img_size: Height and width of the images, on which the first linear layer depends.
            dropout: Share of the outputs of convolutions that is dropped in training; of hidden linear layers, half.
            encoder: What makes spikes of static images.

        Raises:
            SnnError: If an option is out of range.
        """
        super().__init__(num_classes, T, in_chans, width, encoder, img_size)
        plan = VGG_LAYERS[form]
        pools = plan.count(0)
        if img_size >> pools < 1:
            raise SnnError(f"BiasFreeVGG: img_size is {img_size}; {pools} pools need at least {2**pools}")
        self.layers = nn.ModuleList()
        channels = in_chans
        for full, after in zip(plan, (*plan[1:], None), strict=True):
            if full == 0:
                self.layers.append(nn.AvgPool2d(2))
                continue
            out = scale_channels(full, width)
            conv = kit.conv(channels, out, 3)
            self.layers.append(Layer(conv, kit.neuron(), None if after == 0 else Dropout(dropout)))
            channels = out
        features, hidden = channels * (img_size >> pools) ** 2, scale_channels(VGG_HIDDEN[form], width)
        self.hidden = nn.ModuleList()
        for inside in (features, hidden):
            self.hidden.append(Layer(Linear(inside, hidden, bias=False), kit.neuron(), Dropout(0.5)))
        self.fc = Linear(hidden, num_classes, bias=False)
        self._initialise()
        # 0.01 is for the published width and size: with fewer inputs a narrow network would not begin to learn.
        whole = 512 * (32 >> pools) ** 2, VGG_HIDDEN[form], VGG_HIDDEN[form]
        linears = [one for one in self.modules() if isinstance(one, nn.Linear)]
        for inputs, linear in zip(whole, linears, strict=True):
            nn.init.normal_(linear.weight, 0, 0.01 * math.sqrt(inputs / linear.in_features))

    def classify(self, x: Tensor, steps: int, repeats: int) -> Tensor:
        """Return logits [steps * B, num_classes]."""
        for layer in self.layers:
            x = layer(x, steps, repeats) if isinstance(layer, Layer) else layer(x)
            repeats = 1
        x = x.flatten(1)
        for layer in self.hidden:
            x = layer(x, steps)
        return self._read_out(self.fc(x), steps)


@component("model", "biasfree_resnet20")
@register_model
def biasfree_resnet20(
    pretrained: bool = False,
    img_size: int = 32,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    encoder: Annotated[Encoder | None, "encoder"] = None,
    **kwargs: Any,
) -> BiasFreeResNet:
    """ResNet-20 of [36], [38] and [42]: 11,253,440 parameters at 10 classes.

    Args:
        pretrained: Refused.
        img_size: Height and width of the images.
        dropout: Share of the outputs that is dropped in training.
        encoder: What makes spikes of static images; none shows the image itself at every step.
        **kwargs: Options of the network.
    """
    options = own_options("biasfree_resnet20", pretrained, kwargs)
    return BiasFreeResNet((2, 2, 2, 2), dropout=dropout, encoder=encoder, img_size=img_size, **options)


biasfree_resnet20.size = (0.2157e9, 0.319e6, 32, 11.25e6, 2048)  # type: ignore[attr-defined]


@component("model", "biasfree_resnet34")
@register_model
def biasfree_resnet34(
    pretrained: bool = False,
    img_size: int = 224,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    encoder: Annotated[Encoder | None, "encoder"] = None,
    **kwargs: Any,
) -> BiasFreeResNet:
    """ResNet-34 of [36] and [43] for images of 224 pixels: 21,845,696 parameters at 1000 classes.

    Args:
        pretrained: Refused.
        img_size: Height and width of the images.
        dropout: Share of the outputs that is dropped in training.
        encoder: What makes spikes of static images; none shows the image itself at every step.
        **kwargs: Options of the network.
    """
    options = {"num_classes": 1000} | own_options("biasfree_resnet34", pretrained, kwargs)
    return BiasFreeResNet((3, 4, 6, 3), imagenet=True, dropout=dropout, encoder=encoder, img_size=img_size, **options)


biasfree_resnet34.size = (10.294e9, 14.55e6, 224, 21.34e6, 512)  # type: ignore[attr-defined]


@component("model", "biasfree_vgg11")
@register_model
def biasfree_vgg11(
    pretrained: bool = False,
    img_size: int = 32,
    form: Literal["spiking", "ann"] = "spiking",
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    encoder: Annotated[Encoder | None, "encoder"] = None,
    **kwargs: Any,
) -> BiasFreeVGG:
    """VGG-11 of [36]: 21,116,608 parameters at 100 classes.

    Args:
        pretrained: Refused.
        img_size: Height and width of the images.
        form: Nine convolutions, as the file of the spiking network has it and the released weights need it; or the
            eight of the ANN's file with wider linear layers, 36,562,624 parameters.
        dropout: Share of the outputs of convolutions that is dropped in training.
        encoder: What makes spikes of static images; none shows the image itself at every step.
        **kwargs: Options of the network.
    """
    options = own_options("biasfree_vgg11", pretrained, kwargs)
    layers = "vgg11" if form == "spiking" else "vgg11_ann"
    return BiasFreeVGG(layers, dropout=dropout, encoder=encoder, img_size=img_size, **options)


biasfree_vgg11.size = (0.7096e9, 0.346e6, 32, 21.02e6, 1024)  # type: ignore[attr-defined]


@component("model", "biasfree_vgg16")
@register_model
def biasfree_vgg16(
    pretrained: bool = False,
    img_size: int = 32,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    encoder: Annotated[Encoder | None, "encoder"] = None,
    **kwargs: Any,
) -> BiasFreeVGG:
    """VGG-16 of the same family: 40,285,888 parameters at 100 classes.

    Args:
        pretrained: Refused.
        img_size: Height and width of the images.
        dropout: Share of the outputs of convolutions that is dropped in training.
        encoder: What makes spikes of static images; none shows the image itself at every step.
        **kwargs: Options of the network.
    """
    options = own_options("biasfree_vgg16", pretrained, kwargs)
    return BiasFreeVGG("vgg16", dropout=dropout, encoder=encoder, img_size=img_size, **options)


biasfree_vgg16.size = (0.3384e9, 0.285e6, 32, 39.92e6, 4096)  # type: ignore[attr-defined]
