"""In which order the instructions of a terrain are asked for: evenly, and by seed and place in the run alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distributed.rollout.instructions import sharing
from terrains.base import Terrain

ORDER = 13
"""A constant in the seeds of the orders."""

TRAINING, EVALUATION = range(2)

Chosen = list[int]
"""Which of a terrain's ``all_instructions`` each of some programs is written behind."""


class InstructionOrder:
    """Each terrain's instructions, walked through round after round, each round in an order of its own.

    However many programs were asked for so far, no instruction was asked for more than once more than another. Nothing
    is kept but the seed: where a step begins follows from its number.

    Args:
        seed: of the run.
        terrains: in the order of the prompts.
        side_by_side: programs of an instruction one after the other, in training.

    Attributes:
        sharing: by terrain, the first one that has the same instructions.
        trained: by terrain, how many of its instructions are for training; those behind them are for evaluation alone.
    """

    def __init__(self, seed: int, terrains: Sequence[Terrain], side_by_side: int = 1) -> None:
        self._seed, self._side_by_side = seed, side_by_side
        self.trained = [len(each.instructions) for each in terrains]
        self._evaluated = [len(each.eval_instructions) for each in terrains]
        self.sharing = sharing(terrains)

    def together(self) -> tuple[list[int], list[int]]:
        """The terrains that share their instructions with others, and those that stand alone.

        A single terrain counts among the first, so that it is asked for as one of several is.
        """
        sizes = np.bincount(self.sharing, minlength=len(self.sharing))
        shared = [k for k, first in enumerate(self.sharing) if sizes[first] > 1 or len(self.sharing) == 1]
        return shared, sorted(set(range(len(self.sharing))) - set(shared))

    def has_evaluation(self, terrain: int) -> bool:
        """Whether a terrain has instructions for evaluation alone."""
        return self._evaluated[terrain] > 0

    def training(self, terrain: int, n: int, step: int = 0) -> Chosen:
        """Instructions of the n programs that a terrain is asked for in a step, as in every step."""
        slots = -(-n // self._side_by_side)
        walked = self._walk(terrain, TRAINING, self.trained[terrain], step * slots, slots)
        return [which for which in walked for _ in range(self._side_by_side)][:n]

    def evaluation(self, terrain: int, n: int) -> Chosen:
        """Instructions of n programs of an evaluation, the same in each: those for evaluation, where there are such."""
        if not self._evaluated[terrain]:
            return self._walk(terrain, EVALUATION, self.trained[terrain], 0, n)
        walked = self._walk(terrain, EVALUATION, self._evaluated[terrain], 0, n)
        return [self.trained[terrain] + which for which in walked]

    def _walk(self, terrain: int, purpose: int, size: int, start: int, n: int) -> Chosen:
        """The n instructions from a place of the walk on."""
        if size == 1:
            return [0] * n
        rounds = range(start // size, -(-(start + n) // size))
        orders = [self._round(terrain, purpose, size, number) for number in rounds]
        first = start - rounds.start * size
        return np.concatenate(orders)[first : first + n].tolist() if orders else []

    def _round(self, terrain: int, purpose: int, size: int, number: int) -> np.ndarray:
        # Terrains that share their instructions walk alike, so that their programs can be compared one by one.
        place = (self._seed, ORDER, self.sharing[terrain], purpose, number)
        return np.random.default_rng(np.random.SeedSequence(place)).permutation(size)
