"""What a policy was at one moment, and the best of such moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distributed.rollout.types import LayerWeights, PromptState


@dataclass(frozen=True)
class Snapshot:
    """A policy at one moment.

    Attributes:
        state: what a worker needs to act as it.
        acting: what a worker needs to explore with it; the same, unless exploring hides something from a network.
        source: tensors of the network that its prompts come from, or None where they are just themselves.
    """

    state: PromptState
    acting: PromptState
    source: Mapping[str, np.ndarray] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `from_state` makes an equal one."""
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
        """Makes what `state_dict` took apart."""
        layers = LayerWeights.of(saved["layers"]) if saved["layers"] else None
        state = PromptState(saved["version"], saved["prompts"], layers)
        acting = state if saved["acting"] is None else PromptState(saved["version"], saved["acting"], layers)
        return cls(state, acting, saved["source"])


class BestTracker:
    """The best moments of a policy: each terrain's own, or one for all where terrains share what is trained.

    Args:
        first: the policy as it was at the start.
        whole: whether a moment is judged, and handed out, as a whole.

    Attributes:
        snapshot: what to hand out. Unless moments are whole, its prompts are each terrain's best.
        fitness: mean fitness by terrain of what was noted, shape (n_terrains,); minus infinity before that.
    """

    def __init__(self, first: Snapshot, whole: bool) -> None:
        assert first.state.prompts is not None
        self.snapshot, self._whole = first, whole
        self.fitness = np.full(len(first.state.prompts), -np.inf)

    def note(self, snapshot: Snapshot, means: Sequence[float]) -> None:
        """Takes over what is better than anything before; a mean that is not finite is not.

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
        prompts = np.where(better[:, None, None], new, old)
        state = PromptState(snapshot.state.version, prompts)
        self.snapshot = Snapshot(state, state)
        self.fitness = np.where(better, means, self.fitness)

    def state_dict(self) -> dict[str, Any]:
        """Plain values that `load_state_dict` takes."""
        return {"snapshot": self.snapshot.state_dict(), "fitness": self.fitness.copy()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continues where another one was."""
        self.snapshot, self.fitness = Snapshot.from_state(saved["snapshot"]), np.array(saved["fitness"])
