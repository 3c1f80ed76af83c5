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
        last = nn.Linear(2 * d_model, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(d_model, 2 * d_model), nn.ReLU(), last)

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the values of hidden states, shape (..., d_model) to (...)."""
        return self.layers(hidden.to(self.layers[0].weight.dtype)).squeeze(-1)
