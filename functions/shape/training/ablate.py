#!/usr/bin/env python3
"""What the trained weights rest on: judged on families held out, and on new scenes of the others.

    ablate.py --checkpoint FILE --generator FILE

Prints a table in Markdown: inflation, the network, the network without the picture, with its mirror image's answer
taken in, and with weights in half precision; then how large errors really are where the network expects them to be.
"""

import argparse
from pathlib import Path

import torch

import data
import judge
from losses import surfaces
from network import Network

SAMPLES = 1024
# Of the other families: nothing that was trained on has this seed.
OTHERS_SEED = 99
# Bounds of expected errors, halves of the picture's side.
DOUBTS = (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 10)


def rows(network):
    half = Network().requires_grad_(False)
    half.load_state_dict({name: value.half().float() for name, value in network.state_dict().items()})
    return {
        "inflation": judge.inflation,
        "network": judge.network_of(network),
        "without the picture": judge.network_of(network, picture=False),
        "with the mirror image": judge.network_of(network, flipped=True),
        "half precision": judge.network_of(half),
    }


@torch.no_grad()
def doubts(network, samples):
    """For each range of expected errors: the share of places, and the mean errors of the network and of inflation."""
    _, planes, front, back = samples
    found = torch.cat([judge.network_of(network)(planes[at : at + 32]) for at in range(0, len(planes), 32)])
    inside = planes[:, 3:4] >= 0.5
    errors = []
    for depths in (found, judge.inflation(planes)):
        near = surfaces(depths, inside.float(), front, back)
        errors.append(((near[0] - front).abs() + (near[1] - back).abs()) / 2)
    expected = found[:, 2:3].exp()
    for low, high in zip(DOUBTS, DOUBTS[1:]):
        here = inside & (expected >= low) & (expected < high)
        share = here.sum() / inside.sum()
        means = [error[here].mean().item() if here.any() else float("nan") for error in errors]
        print(f"| {low} to {high} | {share:.3f} | {means[0]:.3f} | {means[1]:.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--generator", required=True, type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
    network, side = Network().requires_grad_(False), kept["side"]
    network.load_state_dict(kept["average"])
    held_out = judge.unseen(options.generator, side, SAMPLES)
    source = data.Samples(options.generator, side, OTHERS_SEED)
    others = source.batch(SAMPLES)
    source.close()
    print(f"After {kept['samples']} samples, on {SAMPLES} each:\n")
    print("| | held out: IoU | near | others: IoU | near |\n|---|---|---|---|---|")
    for name, run in rows(network).items():
        scores = [judge.over(run, samples) for samples in (held_out, others)]
        print(f"| {name} | " + " | ".join(f"{s['iou']:.3f} | {s['near']:.3f}" for s in scores) + " |")
    print("\n| expected error | share of places | network's error | inflation's |\n|---|---|---|---|")
    doubts(network, held_out)


if __name__ == "__main__":
    main()
