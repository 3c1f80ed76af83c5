"""What a step's programs earn once variety counts: rewards shared by repeats, and paid for what is unlike the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from distributed.config import MethodConfig
from distributed.errors import UserError
from distributed.rollout.outcomes import identities
from distributed.rollout.types import Rollouts
from softprompt.rl.archive import CellArchive
from softprompt.rl.ppo import PolicyStats
from softprompt.rl.variety import (
    RepeatController,
    distinctness,
    edit_distances,
    novelty,
    point_distances,
    repeats,
    scaled,
    sharing,
    unique_share,
)
from terrains.niches import Niches


class VarietyRewards:
    """Turns the rewards of a step into those that variety asks for; without such settings they stay as they are.

    Args:
        method: settings of the method.
        niches: the world's grid, None for a world whose programs have no descriptors.

    Attributes:
        controller: the exponent of the discount for repeats.

    Raises:
        UserError: settings ask for descriptors that the world has not.
    """

    def __init__(self, method: MethodConfig, niches: Niches | None) -> None:
        self._method, self._niches = method, niches
        self.controller = RepeatController(method.repeat_discount, method.unique_target, method.unique_rate)
        asked = {
            "repeats_by": method.repeats_by == "cell",
            "distinct_by": method.distinct_by == "descriptors",
            "novelty_weight": method.novelty_weight > 0,
            "replay_from": method.replay_from != "best",
            "prompts_per_terrain": method.prompts_per_terrain > 1,
        }
        if niches is None and any(asked.values()):
            name = next(name for name, wanted in asked.items() if wanted)
            raise UserError(f"method.{name}: it needs descriptors, and the world has no niches")

    def __call__(
        self,
        rewards: Tensor,
        rollouts: Sequence[Rollouts],
        tokens: tuple[Tensor, Tensor],
        group: Tensor,
        archive: CellArchive,
    ) -> tuple[Tensor, PolicyStats]:
        """Returns the rewards of a step's programs, and statistics of how varied they are.

        Args:
            rewards: one a program, shape (b,), or one a token, shape (b, l).
            rollouts: the programs.
            tokens: their ids, shape (b, l) int64, and which are real, shape (b, l) bool.
            group: which programs are compared with one another, shape (b,) int64.
            archive: what was known before this step.
        """
        same = self._same(rollouts).to(group.device)
        unique = unique_share(same, group)
        stats = {"variety/unique": unique, "variety/repeat_discount": self.controller.value}
        if not self._method.pays_for_variety:
            return rewards, stats
        if self._method.distinct_by != "none":
            apart = self._distinctness(rollouts, tokens, group)
            rewards, stats["variety/distinctness"] = scaled(rewards, apart.to(rewards.device)), apart.mean().item()
        if self._method.novelty_weight:
            new = self._novelty(rollouts, archive)
            stats["variety/novelty"] = new.mean().item()
            rewards = _with_bonus(rewards, self._method.novelty_weight * new.to(rewards), tokens[1])
        rewards = scaled(rewards, sharing(repeats(same, group), self.controller.value))
        self.controller.update(unique)
        return rewards, stats

    def _same(self, rollouts: Sequence[Rollouts]) -> Tensor:
        """A number for each program that repeats share, shape (b,)."""
        by = self._method.repeats_by
        if by == "program":
            return torch.from_numpy(np.concatenate([identities(r.programs) for r in rollouts]))
        identity = np.concatenate([r.identity for r in rollouts])
        if by == "cell":
            assert self._niches is not None
            cells = self._niches.cell(np.concatenate([r.descriptors for r in rollouts]))
            identity = np.where(cells >= 0, cells, identity)
        return torch.from_numpy(identity)

    def _points(self, rollouts: Sequence[Rollouts]) -> Tensor:
        """The descriptors of all programs as shares of their extents, shape (b, n_descriptors)."""
        assert self._niches is not None
        return torch.from_numpy(self._niches.scaled(np.concatenate([r.descriptors for r in rollouts])))

    def _distinctness(self, rollouts: Sequence[Rollouts], tokens: tuple[Tensor, Tensor], group: Tensor) -> Tensor:
        """How far each program is from its group, shape (b,), float64."""
        group = group.cpu()
        points = self._points(rollouts) if self._method.distinct_by == "descriptors" else None
        found = torch.empty(len(group), dtype=torch.float64)
        for name in group.unique().tolist():
            own = (group == name).nonzero().flatten()
            if points is None:
                found[own] = distinctness(edit_distances(tokens[0].cpu()[own], tokens[1].cpu()[own]))
            else:
                found[own] = distinctness(point_distances(points[own], points[own]))
        return found

    def _novelty(self, rollouts: Sequence[Rollouts], archive: CellArchive) -> Tensor:
        """How far each valid program is from what its terrain's archive holds, shape (b,); 0 for any other."""
        assert self._niches is not None
        terrain = np.concatenate([r.terrain for r in rollouts])
        valid = np.array([row[0] is None for r in rollouts for row in r.failures])
        points, found = self._points(rollouts), torch.zeros(len(terrain), dtype=torch.float64)
        valid &= np.isfinite(points.numpy()).all(axis=1)
        for k in np.unique(terrain).tolist():
            own = torch.from_numpy(np.flatnonzero((terrain == k) & valid))
            known = np.array([each.descriptors for each in archive.elites(k)]).reshape(-1, points.shape[1])
            apart = point_distances(points[own], torch.from_numpy(self._niches.scaled(known)))
            found[own] = novelty(apart, self._method.novelty_neighbours)
        return found


def _with_bonus(rewards: Tensor, bonus: Tensor, mask: Tensor) -> Tensor:
    """Rewards with more for each program; where each token has one, on the program's last."""
    if rewards.ndim == 1:
        return rewards + bonus
    rows = mask.any(dim=1).nonzero().flatten()
    last = mask.sum(dim=1)[rows] - 1
    return rewards.index_put((rows, last), bonus[rows], accumulate=True)
