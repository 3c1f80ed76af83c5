"""Many instructions under one soft prompt: asked for evenly, kept with each program, and nowhere else compared."""

from __future__ import annotations

from collections import Counter

import numpy as np

from distributed.training.instructions import InstructionOrder
from terrains.base import Instruction, Terrain


def terrain(name: str, n: int, evaluated: int = 0) -> Terrain:
    own = tuple(Instruction(f"q{k}") for k in range(n))
    held_out = tuple(Instruction(f"e{k}") for k in range(evaluated))
    return Terrain(name, instructions=own, eval_instructions=held_out)


def test_at_every_step_no_instruction_was_asked_for_more_than_once_more_than_another():
    order, asked = InstructionOrder(5, [terrain("a", 7)]), Counter()
    for step in range(20):
        asked.update(order.training(0, 4, step))
        counts = [asked[k] for k in range(7)]
        assert max(counts) - min(counts) <= 1 and sum(counts) == 4 * (step + 1)


def test_samples_of_an_instruction_stand_side_by_side_and_the_seed_decides_the_order():
    chosen = InstructionOrder(5, [terrain("a", 50)], side_by_side=3).training(0, 9)
    assert [Counter(chosen)[k] for k in dict.fromkeys(chosen)] == [3, 3, 3]
    orders = [InstructionOrder(seed, [terrain("a", 50)]).training(0, 50) for seed in (5, 5, 6)]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[2]) == list(range(50))


def test_evaluations_take_the_instructions_for_evaluation_and_terrains_alike_share():
    order = InstructionOrder(1, [terrain("a", 3, 4), terrain("b", 3, 4), terrain("c", 3)])
    assert sorted(order.evaluation(0, 8)) == sorted([3, 4, 5, 6] * 2)
    assert order.evaluation(0, 8) == order.evaluation(1, 8)
    assert sorted(order.evaluation(2, 3)) == [0, 1, 2]
    assert order.sharing == [0, 0, 2] and order.together() == ([0, 1], [2])
    assert np.all(np.array(order.training(0, 30, 2)) < 3)
