"""Styles: what the first programs of Stage 1 are drawn from."""

from __future__ import annotations

import ast
import random

import pytest

from terrains.base import Attempt
from terrains.sodarace.instruction import INSTRUCTION
from terrains.sodarace.programs.styles import STYLES, canonical


def programs(style, count=30):
    return [STYLES[style](random.Random(seed)) for seed in range(count)]


@pytest.mark.parametrize("style", STYLES)
def test_programs_of_every_style_are_canonical_python_that_begins_with_the_instruction(style):
    drawn = programs(style)
    for program in drawn:
        assert program.startswith(INSTRUCTION)
        assert canonical(program) == program
        assert any(isinstance(n, ast.FunctionDef) and n.name == "make_walker" for n in ast.parse(program).body)
    assert len(set(drawn)) > len(drawn) // 2, "a style says more than one thing"


@pytest.mark.parametrize("style", STYLES)
def test_a_style_is_a_function_of_its_seed(style):
    assert programs(style) == programs(style)


def test_most_programs_of_every_style_are_walkers_that_move(world):
    for style in STYLES:
        scores = world.score([Attempt("flat", p) for p in programs(style)])
        assert sum(s.valid for s in scores) >= len(scores) / 2, style


def test_canonical_layout_forgets_blanks_and_comments():
    loose = "import math\n\n\ndef make_walker( ) :\n    # a comment\n\n    return  1\n"
    assert canonical(loose) == "import math\ndef make_walker():\n    return 1\n"
    with pytest.raises(SyntaxError):
        canonical("def make_walker(:")
