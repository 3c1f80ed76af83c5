"""What a run of trlx tells while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Observer(Protocol):
    """Hears of each step of `softprompt.trlx.trainer.TerrainSoftPromptTrainer`."""

    def before_rollouts(self) -> None:
        """The updates of a step are over, or there was none yet."""
        ...

    def after_rollouts(self, prompts: Tensor) -> None:
        """Programs were sampled and scored, under these prompts, shape (n_terrains, n_soft_tokens, d_model)."""
        ...

    def log(self, stats: Mapping[str, Any]) -> None:
        """trlx would log these numbers, under its own names."""
        ...
