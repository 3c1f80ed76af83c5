"""A terrain is what its name, its instructions and their metadata say."""

from __future__ import annotations

import numpy as np
import pytest

from terrains import Instruction, Terrain


def test_a_terrain_of_one_text_has_one_instruction_and_no_features() -> None:
    terrain = Terrain("short", "The film")
    assert terrain.instructions == (Instruction("The film"),)
    assert terrain.all_instructions == terrain.instructions
    assert terrain.features.shape == (0,) and terrain.features.dtype == np.float32


def test_a_terrain_of_many_instructions_begins_with_the_first() -> None:
    many = (Instruction("2 + 2 =", {"answer": 4}), Instruction("3 + 5 =", {"answer": 8}))
    held_out = (Instruction("1 + 1 =", {"answer": 2}),)
    terrain = Terrain("sums", instructions=many, eval_instructions=held_out)
    assert terrain.instruction == "2 + 2 ="
    assert terrain.all_instructions == many + held_out


@pytest.mark.parametrize(
    "other",
    [
        Terrain("products", instructions=(Instruction("2 + 2 =", {"answer": 4}),)),
        Terrain("sums", instructions=(Instruction("2 + 3 =", {"answer": 4}),)),
        Terrain("sums", instructions=(Instruction("2 + 2 =", {"answer": 5}),)),
        Terrain("sums", instructions=(Instruction("2 + 2 =", {"answer": 4}),), eval_instructions=(Instruction("1 ="),)),
    ],
)
def test_terrains_that_differ_in_what_decides_a_score_are_not_equal(other: Terrain) -> None:
    terrain = Terrain("sums", instructions=(Instruction("2 + 2 =", {"answer": 4}),))
    assert terrain == Terrain("sums", instructions=(Instruction("2 + 2 =", {"answer": 4}),))
    assert terrain != other
