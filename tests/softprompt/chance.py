"""Random numbers of a seed, as several tests draw them."""

from __future__ import annotations

import torch


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
