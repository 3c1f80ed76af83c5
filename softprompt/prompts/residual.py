"""Residual reparameterisation: prompts as rows plus what a small network makes of them, while they are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softprompt.prompts.table import SoftPromptTable, take_prompts


class ResidualPrompts(nn.Module):
    """A table of prompts seen through a network with a skip connection.

    Source: Razdaibiedina et al. 2023, arXiv 2305.03937, section 3. A row P becomes
    ``P + LayerNorm(up(ReLU(down(P))))``, with one network for all rows of all terrains. The network's
    output is used and saved as the prompt, so that the network is needed in training alone. Other than in the paper the
    gain of the LayerNorm starts at zero, so that every prompt starts equal to its row of the table.

    Attributes:
        table: the rows.
    """

    def __init__(self, initial: Tensor, width: int, seed: int = 0) -> None:
        """Makes rows of parameters and a network.

        Args:
            initial: shape (n_terrains, n_soft_tokens, d_model).
            width: of the network's bottleneck.
            seed: decides its first weights.
        """
        super().__init__()
        self.table = SoftPromptTable(initial)
        d_model = initial.shape[2]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.down, self.up = nn.Linear(d_model, width), nn.Linear(width, d_model)
        self.norm = nn.LayerNorm(d_model)
        nn.init.zeros_(self.norm.weight)

    @property
    def n_soft_tokens(self) -> int:
        """Rows per terrain."""
        return self.table.n_soft_tokens

    @property
    def rows(self) -> nn.Parameter:
        """The table's rows."""
        return self.table.weight

    def forward(self, terrain_index: Tensor) -> Tensor:
        """Returns the prompts of these terrains, shape (b,) to (b, n_soft_tokens, d_model)."""
        return take_prompts(self.prompts(), terrain_index)

    def prompts(self, known: Tensor | None = None) -> Tensor:
        """Returns the prompts of all terrains, shape (n_terrains, n_soft_tokens, d_model); see PromptSource."""
        rows = self.table.weight
        return rows + self.norm(self.up(self.down(rows).relu()))
