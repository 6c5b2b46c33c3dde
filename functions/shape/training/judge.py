"""How well the network does on families of scenes that it was never trained on, beside inflation."""

import csv

import torch

import data
from losses import overlap, surfaces

UNSEEN = 384
UNSEEN_SEED = 7
# A tenth of half of the object's longer side, which takes 0.9 of the picture: as the quality bench's F@0.1.
NEAR = 0.1 * 0.9


def unseen(generator, side, count=UNSEEN):
    """Samples of the families that are held out, always the same ones."""
    source = data.Samples(generator, side, UNSEEN_SEED, held_out=True)
    batch = source.batch(count)
    source.close()
    return batch


def measured(found, planes, front, back):
    """IoU along the rays, and the share of places within a tenth of half of the object."""
    inside = (planes[:, 3:4] >= 0.5).float()
    near = surfaces(found, inside, front, back)
    share = sum(((mine - true).abs() < NEAR).float() for mine, true in zip(near, (front, back))) / 2
    return {
        "iou": overlap(near, (front, back), inside).mean().item(),
        "near": ((share * inside).sum(dim=(1, 2, 3)) / inside.sum(dim=(1, 2, 3)).clamp(min=1)).mean().item(),
    }


def network_of(network, picture=True, flipped=False):
    """From planes to what the network finds; without the picture, or as the mean of both ways round."""

    def run(planes):
        shown = data.with_places(planes)
        if not picture:
            shown[:, :3] = 0
        found = network(shown)
        if flipped:
            other = shown.flip(3)
            other[:, 5] = shown[:, 5]
            found = (found + network(other).flip(3)) / 2
        return found

    return run


def inflation(planes):
    """As the engine `inflate`."""
    height = planes[:, 4:5]
    return torch.cat([torch.zeros_like(height), 2 * height, torch.zeros_like(height)], dim=1)


@torch.no_grad()
def over(run, samples, size=32):
    """Means over samples, in small batches."""
    _, planes, front, back = samples
    sums = {}
    for at in range(0, len(planes), size):
        part = slice(at, at + size)
        for name, value in measured(run(planes[part]), planes[part], front[part], back[part]).items():
            sums[name] = sums.get(name, 0) + value * len(planes[part])
    return {name: value / len(planes) for name, value in sums.items()}


def judged(network, samples):
    return over(network_of(network), samples)


def plot(file, picture):
    """The curve as a picture: what is trained on, and the families held out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    seen = [int(row["samples"]) / 1000 for row in rows]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    for axis, names in zip(axes, (("loss", "depth"), ("iou", "unseen iou", "unseen near"))):
        for name in names:
            axis.plot(seen, [float(row[name]) for row in rows], label=name)
        axis.set_xlabel("thousand samples")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)
