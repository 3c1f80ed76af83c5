"""Mutation of programs on their syntax trees: what turns one walker into its relatives."""

from __future__ import annotations

import ast
import random
from typing import Any

from terrains.sodarace.styles import canonical


def mutate(program: str, rng: random.Random, strength: int = 1) -> str:
    """Returns a relative of the program: numbers nudged, or a statement dropped or repeated.

    Args:
        program: Python source that parses.
        rng: where every choice comes from.
        strength: how many mutations are applied one after the other.

    Raises:
        SyntaxError: the program does not parse.
    """
    tree = ast.parse(program)
    for _ in range(strength):
        operator = rng.choices([_nudge_numbers, _drop_statement, _repeat_statement], weights=[8, 1, 1])[0]
        operator(tree, rng)
    return canonical(ast.unparse(ast.fix_missing_locations(tree)))


def change_numbers(program: str, rng: random.Random, share: float) -> str:
    """Returns the program with about that share of its numbers changed, and nothing else.

    Raises:
        SyntaxError: the program does not parse.
    """
    tree = ast.parse(program)
    for number in _numbers(tree):
        if rng.random() < share:
            number.value = _nudged(number.value, rng)
    return canonical(ast.unparse(tree))


def _numbers(tree: ast.AST) -> list[ast.Constant]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) in (int, float)]


def _nudged(value: Any, rng: random.Random) -> int | float:
    """A neighbour of a number on the lattice that the styles draw from, so that relatives stay easy to write."""
    if isinstance(value, int):
        return max(0, value + rng.choice([-2, 2] if value % 2 == 0 else [-1, 1]))
    if value == round(value, 1):
        step = 0.5 if value * 2 == int(value * 2) else 0.2
        return round(abs(value + rng.choice([-step, step])), 1)
    return round(abs(value * rng.choice([0.8, 1.25])), 2)


def _nudge_numbers(tree: ast.Module, rng: random.Random) -> None:
    numbers = _numbers(tree)
    for number in rng.sample(numbers, min(len(numbers), rng.randint(1, 3))):
        number.value = _nudged(number.value, rng)


def _bodies(tree: ast.AST) -> list[list[ast.stmt]]:
    return [n.body for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.For, ast.If)) and len(n.body) > 1]


def _drop_statement(tree: ast.Module, rng: random.Random) -> None:
    bodies = [b for b in _bodies(tree) if any(isinstance(s, ast.Expr) for s in b)]
    if bodies:
        body = rng.choice(bodies)
        body.remove(rng.choice([s for s in body if isinstance(s, ast.Expr)]))


def _repeat_statement(tree: ast.Module, rng: random.Random) -> None:
    bodies = [b for b in _bodies(tree) if any(isinstance(s, ast.Expr) for s in b)]
    if not bodies:
        return
    body = rng.choice(bodies)
    statement = rng.choice([s for s in body if isinstance(s, ast.Expr)])
    twin = ast.parse(ast.unparse(statement)).body[0]
    for number in _numbers(twin):
        number.value = _nudged(number.value, rng)
    body.insert(body.index(statement) + 1, twin)
