#!/usr/bin/env python3
"""Trains the shape network from nothing or from where it was stopped, on samples from the generator.

    train.py --generator FILE --folder DIR [--samples 5000000] [--minutes 60]

The folder keeps everything that lasts: `checkpoint.pt` (written anew every few minutes and moved into place when
whole), `curve.csv` and `curve.png`. Training goes on where the checkpoint stands; the same seed and number of samples
give the same pictures in the same order. Ends after so many samples or minutes, or by SIGTERM, with a checkpoint.
"""

import argparse
import copy
import csv
import os
import signal
import time
from pathlib import Path

import torch

import data
import judge
from losses import loss
from network import Network, parameters

SEED = 20261125
RATE = 1e-3
# Over this last share of all samples the rate falls to nothing. Before, it does not matter how many there will be.
FALLING_SHARE = 0.25
WARM_UP_STEPS = 300
# Of the average of all weights: about the last thousand steps.
KEPT = 0.999
# Samples without a picture: the network shall also know what a silhouette alone says.
PICTURE_DROPPED = 0.1
CHECKPOINT_S = 180
# Judging and plotting cost as much as training on a thousand samples.
TELL_SAMPLES = 16_384
GRADIENT_MAX = 1.0


class Training:
    def __init__(self, options):
        self.options = options
        self.network = Network().to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=RATE, weight_decay=1e-2)
        self.samples, self.steps, self.seconds = 0, 0, 0.0
        self.file = options.folder / "checkpoint.pt"
        if self.file.exists():
            self.resume()

    def resume(self):
        kept = torch.load(self.file, map_location="cpu", weights_only=True)
        self.network.load_state_dict(kept["network"])
        self.average.load_state_dict(kept["average"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.samples, self.steps, self.seconds = kept["samples"], kept["steps"], kept["seconds"]
        print(f"goes on after {self.samples} samples", flush=True)

    def keep(self):
        content = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "samples": self.samples,
            "steps": self.steps,
            "seconds": self.seconds,
            "side": self.options.side,
        }
        new = self.file.with_suffix(".new")
        torch.save(content, new)
        os.replace(new, self.file)

    def rate(self):
        """Even, after a short start and up to the fall at the end."""
        left = max(0, 1 - self.samples / self.options.samples)
        return RATE * min(1, (self.steps + 1) / WARM_UP_STEPS, left / FALLING_SHARE)

    def step(self, batch):
        _, planes, front, back = batch
        dropped = torch.rand(len(planes), 1, 1, 1) < PICTURE_DROPPED
        planes[:, :3] *= ~dropped
        shown = data.with_places(planes).to(memory_format=torch.channels_last)
        whole, terms = loss(self.network(shown), planes, front, back)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        whole.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_MAX)
        # One step without a direction would be the end of all weights.
        if norm.isfinite():
            self.optimiser.step()
        self.steps += 1
        self.samples += len(planes)
        kept = min(KEPT, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for mine, new in zip(self.average.parameters(), self.network.parameters()):
                mine.lerp_(new, 1 - kept)
        return {"loss": whole.item(), **terms}

    def run(self):
        options = self.options
        source = data.Samples(options.generator, options.side, SEED, first=self.samples)
        unseen = judge.unseen(options.generator, options.side)
        ended = []
        signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
        began, kept_at, told_at, sums, count = time.monotonic(), time.monotonic(), self.samples, {}, 0
        while not ended and self.samples < options.samples:
            terms = self.step(source.batch(options.batch))
            sums = {name: sums.get(name, 0) + value for name, value in terms.items()}
            count += 1
            now = time.monotonic()
            ended += [True] if options.minutes and now - began > 60 * options.minutes else []
            last = bool(ended) or self.samples >= options.samples
            if now - kept_at > CHECKPOINT_S or last:
                self.seconds += now - kept_at
                kept_at = now
                self.keep()
            if self.samples - told_at >= TELL_SAMPLES or last:
                told_at = self.samples
                self.tell({name: value / count for name, value in sums.items()}, unseen)
                sums, count = {}, 0
        source.close()

    def tell(self, means, unseen):
        """One line of the curve, and its picture."""
        row = {"samples": self.samples, "seconds": round(self.seconds), "rate": f"{self.rate():.2e}"}
        row |= {name: f"{value:.4f}" for name, value in means.items()}
        row |= {f"unseen {name}": f"{value:.4f}" for name, value in judge.judged(self.average, unseen).items()}
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        file = self.options.folder / "curve.csv"
        fresh = not file.exists()
        with file.open("a", newline="") as out:
            writer = csv.DictWriter(out, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        judge.plot(file, self.options.folder / "curve.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True, type=Path)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--samples", type=int, default=5_000_000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    training = Training(options)
    print(f"{parameters(training.network)} weights, {options.samples} samples to see", flush=True)
    training.run()


if __name__ == "__main__":
    main()
