"""A copy of the policy at one version, and the best of such copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distributed.rollout.types import LayerWeights, PromptState


@dataclass(frozen=True)
class Snapshot:
    """A policy at one version.

    Attributes:
        state: what a worker needs to act as it.
        acting: what a worker needs to explore with it; the same, unless a network has ids of terrains hidden from it.
        source: tensors of the network that its prompts come from, or None where they come from a table.
    """

    state: PromptState
    acting: PromptState
    source: Mapping[str, np.ndarray] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `from_state` builds an equal one."""
        state, acting = self.state, self.acting
        return {
            "version": state.version,
            "prompts": state.prompts,
            "acting": None if acting is state else acting.prompts,
            "layers": dict(state.layers.arrays) if state.layers else None,
            "source": dict(self.source) if self.source else None,
        }

    @classmethod
    def from_state(cls, saved: Mapping[str, Any]) -> Snapshot:
        """Builds the snapshot that `state_dict` was called on."""
        layers = LayerWeights.of(saved["layers"]) if saved["layers"] else None
        state = PromptState(saved["version"], saved["prompts"], layers)
        acting = state if saved["acting"] is None else PromptState(saved["version"], saved["acting"], layers)
        return cls(state, acting, saved["source"])


class BestTracker:
    """Keeps the best policy of a run: each terrain's best prompt, or one snapshot where terrains share parameters.

    Args:
        first: the policy as it was at the start.
        per_terrain: how many prompts a terrain has; they are kept together.
        whole: whether a snapshot is kept as a whole, by its mean over the terrains.

    Attributes:
        snapshot: the best. Unless it is kept as a whole, its prompts are each terrain's best.
        fitness: mean fitness by terrain of the best, shape (n_terrains,); minus infinity before the first `note`.
    """

    def __init__(self, first: Snapshot, whole: bool, per_terrain: int = 1) -> None:
        assert first.state.prompts is not None
        self.snapshot, self._whole, self._per_terrain = first, whole, per_terrain
        self.fitness = np.full(len(first.state.prompts) // per_terrain, -np.inf)

    def note(self, snapshot: Snapshot, means: Sequence[float]) -> None:
        """Keeps what is better than anything before; a mean that is not finite never is.

        Args:
            snapshot: the policy that wrote programs.
            means: their mean fitness, by terrain.
        """
        if self._whole:
            if np.isfinite(means).all() and np.mean(means) > np.mean(self.fitness):
                self.snapshot, self.fitness = snapshot, np.array(means, dtype=float)
            return
        better = np.isfinite(means) & (np.array(means) > self.fitness)
        new, old = snapshot.state.prompts, self.snapshot.state.prompts
        assert new is not None and old is not None
        prompts = np.where(np.repeat(better, self._per_terrain)[:, None, None], new, old)
        state = PromptState(snapshot.state.version, prompts)
        self.snapshot = Snapshot(state, state)
        self.fitness = np.where(better, means, self.fitness)

    def state_dict(self) -> dict[str, Any]:
        """Plain values that `load_state_dict` takes."""
        return {"snapshot": self.snapshot.state_dict(), "fitness": self.fitness.copy()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continues where another one was."""
        self.snapshot, self.fitness = Snapshot.from_state(saved["snapshot"]), np.array(saved["fitness"])
