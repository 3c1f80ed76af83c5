"""Where the programs that a prompt is to write lie among all kinds, as an input of a network that makes prompts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

OCTAVES = 4
"""Waves a number of a point: the shortest has a quarter of the extent, so that places a twentieth apart are told
apart."""


class KindReader(nn.Module):
    """Adds to what a network knows of a terrain what the wanted kind of program means there.

    It reads both together: a low and wide walker is one program in a tunnel and another in front of a wall. Points are
    read as waves of several lengths (Tancik et al. 2020, arXiv 2006.10739, section 4), without which a network hardly
    tells near ones apart.
    """

    def __init__(self, size: int, hidden: int) -> None:
        """Makes its two layers.

        Args:
            size: numbers of a point.
            hidden: width of the network.
        """
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(hidden + 2 * OCTAVES * size, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )

    def forward(self, hidden: Tensor, points: Tensor) -> Tensor:
        """Returns what is known of terrain and kind, shape (b, hidden).

        Args:
            hidden: what is known of the terrain, shape (b, hidden).
            points: where the kind lies, shape (b, size), each number a share of its extent; those outside [0, 1] count
                as its ends.
        """
        return hidden + self.layers(torch.cat([hidden, waves(points)], dim=1))


def waves(points: Tensor) -> Tensor:
    """Returns points (b, size) in [0, 1] as sines and cosines of half a turn, one, two and four turns, (b, width)."""
    turns = 2.0 ** torch.arange(OCTAVES, device=points.device, dtype=points.dtype)
    angles = (points.clamp(0, 1)[..., None] * (math.pi * turns)).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
