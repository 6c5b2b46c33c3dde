#!/usr/bin/env python3
"""The loss cannot see how far away an object is: then it must not push there either. Needs nothing but torch."""

import torch

from losses import loss
from network import Network


def scene(side=32):
    """Half a ball before a slanted board: front and back are not alike, so that a push would show."""
    line = (torch.arange(side) + 0.5) / (side / 2) - 1
    x, y = line.view(1, 1, 1, side), -line.view(1, 1, side, 1)
    height = (0.8 - x**2 - y**2).clamp(min=0).sqrt()
    inside = (height > 0).float()
    planes = torch.cat([inside.expand(1, 4, side, side), height, x.expand_as(height), y.expand_as(height)], dim=1)
    return planes, height + 0.3 * y, 0.3 * y - 0.1 * inside


def an_object_further_away_is_as_good_and_nothing_moves_it():
    planes, front, back = scene()
    found = torch.cat([0.2 * planes[:, :1], 1.5 * planes[:, 4:5], torch.zeros_like(front)], dim=1)
    away = torch.zeros(1, requires_grad=True)
    there = lambda distance: loss(found + torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1) * distance, planes, front, back)[0]
    there(away).backward()
    assert away.grad.abs().item() < 1e-5, f"pushed by {away.grad.item()}"
    assert (there(3.0) - there(0.0)).abs() < 1e-4


def the_far_end_of_a_fresh_network_hears_the_picture():
    torch.manual_seed(1)
    network, x = Network(), torch.randn(4, 7, 64, 64)
    for number, down in enumerate(network.down):
        x = down(x if number == 0 else torch.nn.functional.silu(x))
    assert 0.5 < x.std() < 2, f"{x.std()} is left of one"


if __name__ == "__main__":
    for test in (an_object_further_away_is_as_good_and_nothing_moves_it, the_far_end_of_a_fresh_network_hears_the_picture):
        test()
        print(f"ok  {test.__name__.replace('_', ' ')}")
