"""The critic: what a hidden state of the frozen language model says about the reward to come."""

from __future__ import annotations

from torch import Tensor, nn


class ValueHead(nn.Module):
    """Two layers, as wide as trlx's: d to 2d, ReLU, 2d to 1.

    The last layer starts at zero, so that an untrained critic predicts nothing and the first advantages are the
    rewards themselves.
    """

    def __init__(self, d_model: int) -> None:
        """Makes a critic for hidden states of width ``d_model``."""
        super().__init__()
        self.first, self.last = nn.Linear(d_model, 2 * d_model), nn.Linear(2 * d_model, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the values of hidden states, shape (..., d_model) to (...)."""
        return self.last(self.first(hidden.to(self.first.weight.dtype)).relu()).squeeze(-1)
