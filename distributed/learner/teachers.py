"""Which programs each prompt learns by likelihood, and which cell of the archive each of several prompts owns."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Any

import numpy as np
from torch import Tensor

from distributed.config import RunConfig
from softprompt.rl.archive import CellArchive, CellElite, spread
from softprompt.rl.elites import Elite, EliteBatch, EliteBuffer, as_batch
from terrains.niches import Niches


class Teachers:
    """The best programs of a run, and who learns them.

    A single prompt of a terrain learns several programs of it, as ``method.replay_from`` says. Several prompts learn
    one each: every one owns a cell, one of those that `wanted_cells` names, and learns the best program of it.

    Args:
        config: settings of the run.
        n_terrains: how many terrains there are.
        niches: the world's grid, or None.

    Attributes:
        elites: each terrain's best programs so far.
        archive: the best program of each cell, where there is a grid.
        owned: of each prompt, the cell it owns; -1 for none.
    """

    def __init__(self, config: RunConfig, n_terrains: int, niches: Niches | None) -> None:
        method = config.method
        self._method, self._niches, self._n_terrains = method, niches, n_terrains
        self.elites = EliteBuffer(n_terrains, max(method.replay_size, config.warm_start.elites))
        self.archive = CellArchive(n_terrains)
        self.owned = [-1] * (n_terrains * method.prompts_per_terrain)

    def __len__(self) -> int:
        """Returns how many programs there are to learn from."""
        return len(self.elites)

    def batch(self, best: int) -> EliteBatch:
        """Returns what the prompts learn now.

        Args:
            best: programs a terrain, where it has one prompt; each of several has one program.
        """
        per_terrain = self._method.prompts_per_terrain
        if per_terrain == 1:
            return as_batch((k, elite) for k in range(self._n_terrains) for elite in self.wanted(k, best))
        known = [self.archive.cells(p // per_terrain).get(cell) for p, cell in enumerate(self.owned)]
        return as_batch((p, elite) for p, elite in enumerate(known) if elite)

    def wanted(self, terrain: int, count: int) -> list[Elite]:
        """Returns the programs of a terrain that are worth learning by one prompt, at most so many, best first."""
        if self._method.replay_from == "best":
            return list(self.elites.best(terrain)[:count])
        return list(self.wanted_cells(terrain, count))

    def wanted_cells(self, terrain: int, count: int) -> list[CellElite]:
        """Returns the best programs of at most so many cells: of the best cells, or, for ``spread``, of far ones."""
        found = self.archive.elites(terrain, self._method.replay_bar)
        if self._method.replay_from != "spread" or self._niches is None:
            return found[:count]
        told = np.array([each.descriptors for each in found]).reshape(-1, len(self._niches.names))
        points = self._niches.scaled(told)
        return spread(found, points.tolist(), count)

    def settle(self, rows: Tensor | None = None, moments: Iterable[Tensor] = ()) -> int:
        """Gives each wanted cell that nobody owns a prompt to spare; returns how many were born anew.

        Prompts to spare are those whose cell is not wanted any more, then those that share theirs with another. While
        there are fewer cells than prompts, cells have several prompts. One that is born starts as a copy of the prompt
        that wrote its cell's elite, where a prompt did, and the optimizer forgets what it knew of the old one.

        Args:
            rows: all prompts, shape (n_prompts, n_soft_tokens, d), changed in place; None where a network makes them
                from where their cells lie, so that there is nothing to copy.
            moments: the optimizer's numbers for them, of the same shape, changed in place.
        """
        per_terrain = self._method.prompts_per_terrain
        born: list[tuple[int, CellElite]] = []
        if per_terrain == 1:
            return 0
        for terrain in range(self._n_terrains):
            own = range(terrain * per_terrain, (terrain + 1) * per_terrain)
            wanted = self.wanted_cells(terrain, per_terrain)
            cells = {each.cell for each in wanted}
            first = {self.owned[p]: p for p in reversed(own)}
            lost = [p for p in own if self.owned[p] not in cells]
            spare = lost + [p for p in own if self.owned[p] in cells and first[self.owned[p]] != p]
            new = [each for each in wanted if each.cell not in first]
            born += zip(spare, new, strict=False)
            born += zip(lost[len(new) :], cycle(wanted), strict=False)
        for p, elite in born:
            self.owned[p] = elite.cell
        if rows is None:
            return len(born)
        copies = {p: rows[elite.origin].clone() for p, elite in born if elite.origin >= 0}
        for p, copy in copies.items():
            rows[p] = copy
            for each in moments:
                each[p] = 0
        return len(born)

    def state_dict(self) -> dict[str, Any]:
        """Returns what `load_state_dict` takes."""
        return {"archive": self.archive.state_dict(), "owned": list(self.owned)}

    def load_state_dict(self, elites: dict[str, Any], state: dict[str, Any] | None) -> None:
        """Continues where others were.

        Args:
            elites: state of the `EliteBuffer`.
            state: what `state_dict` returned; None in checkpoints of before there were archives.
        """
        self.elites.load_state_dict(elites)
        if state is not None:
            self.archive.load_state_dict(state["archive"])
            self.owned = list(state["owned"])
