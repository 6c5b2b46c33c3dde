"""The network: seven planes of a square cut-out in, three planes out (four, before inflation comes in).

In: red, green, blue (0 to 1, times coverage), coverage, height of inflation, x and y (-1 to 1, y up).
Out: `mid`, the depth half-way between front and back; `thickness`, as inflation's times a factor, plus what
inflation cannot have; `doubt`, the logarithm of the error that the network expects of its own surface. Lengths
are halves of the picture's side. Only operations that tract runs on a CPU and on CUDA: convolutions, strided or
not, sigmoid times itself, sums, and 1 x 1 convolutions whose channels are laid out as pixels.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

PLANES = 7
WIDTHS = (32, 64, 128, 160)
# The logarithm of the factor on inflation stays within this: outside of the silhouette nothing holds it, and an endless
# factor times no height is no number.
FACTOR_MAX = 3.0
# Of numbers of mean zero and deviation one, SiLU leaves a root of mean square of one over this.
SILU_GAIN = 1.68


def conv(wide, narrow, size, **more):
    """A layer that begins with as much coming out as went in. Torch's own beginning, and SiLU behind it, leave a third:
    nothing of the picture would be left at the far end of the network."""
    layer = nn.Conv2d(wide, narrow, size, **more)
    nn.init.normal_(layer.weight, std=SILU_GAIN / math.sqrt(layer.weight[0].numel()))
    nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = conv(width, width, 3, padding=1)
        self.second = conv(width, width, 3, padding=1)
        # Starts as nothing: deep networks without normalisation train from there.
        nn.init.zeros_(self.second.weight)

    def forward(self, x):
        return x + self.second(F.silu(self.first(F.silu(x))))


class Up(nn.Module):
    """Twice the width and height: four times the channels by a 1 x 1 convolution, laid out as pixels."""

    def __init__(self, wide, narrow):
        super().__init__()
        self.spread = conv(wide, 4 * narrow, 1)

    def forward(self, x):
        return F.pixel_shuffle(self.spread(F.silu(x)), 2)


class Network(nn.Module):
    def __init__(self, widths=WIDTHS):
        super().__init__()
        a, b, c, d = widths
        down = lambda wide, narrow: conv(wide, narrow, 3, stride=2, padding=1)
        self.down = nn.ModuleList([down(PLANES, a), down(a, b), down(b, c), down(c, d)])
        blocks = lambda width, count: nn.Sequential(*[Residual(width) for _ in range(count)])
        self.inwards = nn.ModuleList([nn.Identity(), blocks(b, 1), blocks(c, 2), blocks(d, 3)])
        self.up = nn.ModuleList([Up(d, c), Up(c, b), Up(b, a)])
        self.outwards = nn.ModuleList([blocks(c, 1), blocks(b, 1), blocks(a, 1)])
        self.last = conv(a, 4 * 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def parts(self, planes):
        """Batch x 7 x side x side to four planes of the same side, a multiple of 16: mid, the logarithm of the factor
        on inflation, what is added to it before it is bent to be positive, doubt."""
        x, kept = planes, []
        for number, (down, inwards) in enumerate(zip(self.down, self.inwards)):
            x = inwards(down(x if number == 0 else F.silu(x)))
            kept.append(x)
        x = kept.pop()
        for up, outwards in zip(self.up, self.outwards):
            x = outwards(kept.pop() + up(x))
        return F.pixel_shuffle(self.last(F.silu(x)), 2)

    def forward(self, planes):
        """Batch x 7 x side x side to batch x 3 x side x side: mid, thickness, doubt."""
        mid, factor, more, doubt = self.parts(planes).split(1, dim=1)
        height = planes[:, 4:5]
        # Begins as inflation: factor one, and nothing else to speak of.
        thickness = 2 * height * torch.exp(factor.clamp(-FACTOR_MAX, FACTOR_MAX)) + F.softplus(2 * more - 4) / 2
        return torch.cat([mid, thickness, doubt], dim=1)


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())
