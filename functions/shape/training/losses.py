"""What is wrong with a surface, and by how much. Nobody can know how far away the object was: every comparison is made
after the mean depth of both is the same."""

import torch
from torch.nn import functional as F

IOU_WEIGHT = 0.6
GRADIENT_WEIGHT = 0.7
DOUBT_WEIGHT = 0.03
# Depths further off than this are hidden parts that no picture shows: they count, but no more than so.
DOUBT_RANGE = (-5.0, 1.0)


def surfaces(found, inside, front, back):
    """Found front and back, moved so that volume's mean depth is the true one's.

    The shift is a part of the slope too. Without it the loss cannot see a constant added to `mid`, but pushes it, in the
    same direction step after step: the network's depths run away until their last digits are all that is trained.
    """
    mid, thickness = found[:, 0:1], found[:, 1:2]
    total = lambda values: (values * inside).sum(dim=(1, 2, 3), keepdim=True)
    mean = lambda middle, thick: total(middle * thick) / total(thick).clamp(min=1e-3)
    shift = mean((front + back) / 2, front - back) - mean(mid, thickness)
    mid = mid + shift
    return mid + thickness / 2, mid - thickness / 2


def overlap(found, true, inside):
    """Shared and joint length along the rays, summed over each picture."""
    (f, b), (tf, tb) = found, true
    both = (torch.minimum(f, tf) - torch.maximum(b, tb)).clamp(min=0)
    total = lambda values: (values * inside).sum(dim=(1, 2, 3))
    shared = total(both)
    return shared / (total(f - b) + total(tf - tb) - shared).clamp(min=1e-3)


def slopes(values, inside):
    """Differences of neighbours, where both are inside."""
    across = (values[..., 1:] - values[..., :-1], inside[..., 1:] * inside[..., :-1])
    down = (values[..., 1:, :] - values[..., :-1, :], inside[..., 1:, :] * inside[..., :-1, :])
    return across, down


def bent(gap):
    """As it is up to one, its logarithm beyond."""
    return torch.where(gap > 1, 1 + gap.clamp(min=1).log(), gap)


def loss(found, planes, front, back):
    """The sum that is trained on, and its terms for the curve."""
    inside = (planes[:, 3:4] >= 0.5).float()
    near = surfaces(found, inside, front, back)
    area = inside.sum(dim=(1, 2, 3)).clamp(min=1)
    mean = lambda values: ((values * inside).sum(dim=(1, 2, 3)) / area).mean()
    # A surface that is far off counts as off, not as endless: one such picture would rule a whole step.
    errors = bent((near[0] - front).abs()) + bent((near[1] - back).abs())
    depth = mean(errors)
    iou = overlap(near, (front, back), inside).mean()
    gradient = 0
    side = inside.shape[-1]
    for mine, true in ((near[0], front), (near[1], back)):
        for (a, both), (b, _) in zip(slopes(mine, inside), slopes(true, inside)):
            # In lengths per length; cliffs count as steep, not as endless.
            gap = bent((a - b).abs() * (side / 2))
            gradient = gradient + ((gap * both).sum(dim=(1, 2, 3)) / area).mean() / 8
    doubt = found[:, 2:3].clamp(*DOUBT_RANGE)
    honesty = mean(errors.detach() / 2 * torch.exp(-doubt) + doubt)
    whole = depth + IOU_WEIGHT * (1 - iou) + GRADIENT_WEIGHT * gradient + DOUBT_WEIGHT * honesty
    return whole, {"depth": depth.item(), "iou": iou.item(), "gradient": gradient.item(), "doubt": honesty.item()}
