"""Samples from the generator: the planes that the network is shown, and the depths that it shall find."""

import subprocess

import numpy as np
import torch

# As the generator writes depths: this many to half of the picture's side.
DEPTH_UNITS = 8192.0


def families(generator):
    """Names of the families in the order of their numbers."""
    said = subprocess.run([generator, "--names"], check=True, capture_output=True, text=True).stdout
    return said.splitlines()


class Samples:
    """A generator at work: batch after batch, from a sample's number on."""

    def __init__(self, generator, side, seed, first=0, held_out=False):
        self.side = side
        self.record = 4 + side * side * (4 + 3 * 2)
        command = [generator, "--seed", str(seed), "--first", str(first), "--side", str(side)]
        command += ["--held-out"] if held_out else []
        # One batch ahead and no more: who reads decides how fast it goes.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)

    def batch(self, count):
        """Families, planes of picture, coverage and height, and the true front and back."""
        wanted = self.record * count
        content = bytearray(wanted)
        view, have = memoryview(content), 0
        while have < wanted:
            got = self.process.stdout.readinto(view[have:])
            if not got:
                raise RuntimeError(f"the generator ended: {self.process.wait()}")
            have += got
        return unpack(np.frombuffer(content, np.uint8).reshape(count, self.record), self.side)

    def close(self):
        self.process.stdout.close()
        self.process.wait()


def unpack(records, side):
    count, pixels = len(records), side * side
    family = records[:, :4].copy().view("<u4")[:, 0]
    rgba = records[:, 4 : 4 + 4 * pixels].reshape(count, side, side, 4).astype(np.float32) / 255
    depths = records[:, 4 + 4 * pixels :].copy().view("<i2").reshape(count, 3, side, side)
    depths = depths.astype(np.float32) / DEPTH_UNITS
    alpha = rgba[..., 3:]
    planes = np.concatenate([rgba[..., :3] * alpha, alpha], axis=3).transpose(0, 3, 1, 2)
    planes = np.concatenate([planes, depths[:, :1]], axis=1)
    tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array))
    return tensor(family.astype(np.int64)), tensor(planes), tensor(depths[:, 1:2]), tensor(depths[:, 2:3])


def with_places(planes):
    """Adds x and y, from -1 to 1, y up."""
    side = planes.shape[-1]
    line = (torch.arange(side) + 0.5) / (side / 2) - 1
    x = line.view(1, 1, 1, side).expand(len(planes), 1, side, side)
    y = -line.view(1, 1, side, 1).expand(len(planes), 1, side, side)
    return torch.cat([planes, x, y], dim=1)
