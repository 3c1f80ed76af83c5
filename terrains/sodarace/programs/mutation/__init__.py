"""Mutation of programs on their syntax trees: what turns one or two walkers into their relatives."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable
from dataclasses import dataclass

from terrains.sodarace.programs.mutation.blocks import connect, graft, loop, phase_expression, swap_helper
from terrains.sodarace.programs.mutation.body import SKELETON_OPERATORS, join_bodies
from terrains.sodarace.programs.mutation.numbers import against, nudge_numbers, one_amplitude
from terrains.sodarace.programs.styles import print_program

OPERATORS: dict[str, tuple[Callable[[ast.Module, random.Random], bool], int]] = {
    "numbers": (nudge_numbers, 6),
    "amplitude": (one_amplitude, 1),
    "against": (against, 1),
    "phase": (phase_expression, 2),
    "loop": (loop, 2),
    "connect": (connect, 2),
    **SKELETON_OPERATORS,
}
"""Every operator on one program by its name, with its weight. It changes the tree and says whether it could."""

JOINING: dict[str, tuple[Callable[[ast.Module, ast.Module, random.Random], bool], int]] = {
    "helper": (swap_helper, 1),
    "graft": (graft, 2),
    "join": (join_bodies, 2),
}
"""Every operator that takes something from a mate."""

TRIES = 12
"""Operators drawn until one could do something."""


@dataclass(frozen=True)
class Child:
    """A program made from others.

    Attributes:
        program: its text.
        operators: what was done, in order; empty if nothing could be.
        joined: whether the mate has a part in it.
    """

    program: str
    operators: tuple[str, ...]
    joined: bool


def mutate(program: str, rng: random.Random, strength: int = 1, mate: str | None = None) -> Child:
    """Returns a relative of a program.

    Args:
        program: Python source that parses.
        rng: where every choice comes from.
        strength: how many operators are applied one after the other.
        mate: another program, of which the first operator takes a part where it can.

    Raises:
        SyntaxError: a program does not parse.
    """
    tree = ast.parse(program)
    done = [_join(tree, ast.parse(mate), rng)] if mate is not None else []
    joined = bool(done and done[0])
    while len(done) < strength or not any(done):
        name = _change(tree, rng)
        if name is None:
            break
        done.append(name)
    return Child(print_program(tree), tuple(name for name in done if name), joined)


def _join(tree: ast.Module, mate: ast.Module, rng: random.Random) -> str | None:
    names = list(JOINING)
    for name in sorted(names, key=lambda n: rng.random() ** (1 / JOINING[n][1]), reverse=True):
        if JOINING[name][0](tree, mate, rng):
            return name
    return None


def _change(tree: ast.Module, rng: random.Random) -> str | None:
    names, weights = list(OPERATORS), [weight for _, weight in OPERATORS.values()]
    for name in rng.choices(names, weights, k=TRIES):
        if OPERATORS[name][0](tree, rng):
            return name
    return None
