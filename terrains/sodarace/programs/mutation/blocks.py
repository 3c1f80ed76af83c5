"""Changes of a program's blocks: loops, the muscles that they add, phase expressions, helpers, parts of a mate."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator

from terrains.sodarace.programs.mutation.numbers import nudge_numbers
from terrains.sodarace.programs.number_grid import PHASES, RATES
from terrains.sodarace.programs.syntax_tree import (
    Body,
    arguments,
    bodies,
    calls,
    functions,
    helpers,
    is_call,
    maker,
    muscles_of,
    names_bound,
    names_read,
)

BUILT_IN = {"range", "len", "zip", "sum", "abs", "min", "max", "math", "walker_creator", "wc"}
MOST_MUSCLE_LINES = 8
"""Statements in one block that add a muscle, unless the program spells its body out."""


def loop(tree: ast.Module, rng: random.Random) -> bool:
    """Changes what a loop does: a muscle statement is dropped, or repeated between other ends; or a loop is dropped."""
    loops = [b for b in bodies(tree) if not _is_maker(tree, b)]
    if not loops:
        return False
    body = rng.choice(loops)
    lines = muscles_of(body)
    how = rng.choice(["drop", "repeat", "repeat", "drop loop"])
    if how == "drop":
        if len(body) > 1:
            body.remove(rng.choice(lines))
            return True
        return False
    if how == "drop loop":
        return _drop_loop(tree, rng)
    if len(lines) >= MOST_MUSCLE_LINES:
        return False
    source = rng.choice(lines)
    twin = copy.deepcopy(source)
    _other_end(body, twin, rng)
    if _ends(twin) in map(_ends, lines):
        return False
    body.insert(body.index(source) + 1, twin)
    return True


def connect(tree: ast.Module, rng: random.Random) -> bool:
    """Ties one end of a muscle that a loop adds to what another end of the loop is tied to, or beside it."""
    loops = [b for b in bodies(tree) if not _is_maker(tree, b)]
    if not loops:
        return False
    body = rng.choice(loops)
    return _other_end(body, rng.choice(muscles_of(body)), rng)


def phase_expression(tree: ast.Module, rng: random.Random) -> bool:
    """Gives the muscles of a loop another law of their phases, or a helper another wave."""
    waves = [c for f in helpers(tree) if f.name == "beat" for c in [*calls(f, "sin"), *calls(f, "cos")]]
    if waves:
        function = rng.choice(waves).func
        assert isinstance(function, ast.Attribute)
        function.attr = "cos" if function.attr == "sin" else "sin"
        return True
    found = [(c, v) for c, v in _muscles_in_loops(tree.body, ()) if v and not isinstance(c.args[-1], ast.Call)]
    if not found:
        return False
    call, variables = rng.choice(found)
    if isinstance(call.args[-1], ast.Name):
        return False
    call.args[-1] = ast.parse(phase_of(variables, rng), mode="eval").body
    return True


def phase_of(variables: tuple[str, ...], rng: random.Random) -> str:
    """Draws an expression for the phase of a muscle in loops over these variables."""
    v = rng.choice(variables)
    laws = [f"{rng.choice(PHASES)}", f"{v} * {rng.choice(RATES[1:])}", f"{v} * {rng.choice(RATES[1:])}"]
    if len(variables) > 1:
        a, b = variables[:2]
        laws += [f"({a} + {b}) * {rng.choice(RATES[1:])}", f"{a} * {rng.choice(RATES)} + {b} * {rng.choice(RATES[1:])}"]
    return rng.choice(laws)


def swap_helper(tree: ast.Module, mate: ast.Module, rng: random.Random) -> bool:
    """Takes over a helper function of the mate that is called in the same way."""
    own, others = helpers(tree), helpers(mate)
    pairs = [(f, g) for f in own for g in others if _signature(f) == _signature(g) and ast.dump(f) != ast.dump(g)]
    if not pairs:
        return False
    old, new = rng.choice(pairs)
    old.body = copy.deepcopy(new.body)
    return True


def graft(tree: ast.Module, mate: ast.Module, rng: random.Random) -> bool:
    """Takes over a statement of the mate's make_walker: an assignment to the same name, or a loop that adds muscles."""
    function, other = maker(tree), maker(mate)
    if function is None or other is None:
        return False
    known = BUILT_IN | {n for s in function.body for n in names_bound(s)} | {f.name for f in functions(tree)}
    offers = [s for s in other.body if names_read(s) <= known and _is_graft(s)]
    rng.shuffle(offers)
    for offer in offers:
        rivals = [k for k, s in enumerate(function.body) if _plays_the_part(s, offer)]
        if rivals:
            at = rng.choice(rivals)
            if ast.dump(function.body[at]) != ast.dump(offer):
                function.body[at] = copy.deepcopy(offer)
                return True
    return False


def _is_graft(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.For) or (
        isinstance(statement, ast.Assign) and not is_call(statement.value, "walker_creator")
    )


def _plays_the_part(statement: ast.stmt, offer: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign) and isinstance(offer, ast.Assign):
        return ast.dump(statement.targets[0]) == ast.dump(offer.targets[0])
    return isinstance(statement, ast.For) and isinstance(offer, ast.For)


def _signature(function: ast.FunctionDef) -> tuple[str, int]:
    return function.name, len(function.args.args)


def _is_maker(tree: ast.Module, body: Body) -> bool:
    function = maker(tree)
    return function is not None and body is function.body


def _drop_loop(tree: ast.Module, rng: random.Random) -> bool:
    function = maker(tree)
    loops = [s for s in function.body if isinstance(s, ast.For)] if function else []
    if function is None or len(loops) < 2:
        return False
    function.body.remove(rng.choice(loops))
    return True


def _ends(muscle: ast.stmt) -> list[str]:
    """What a muscle ties, whichever way round."""
    return sorted(ast.dump(end) for end in arguments(muscle)[:2])


def _other_end(body: Body, muscle: ast.stmt, rng: random.Random) -> bool:
    """Replaces one end of a muscle by another end of the block, or moves a number within it."""
    ends = [e for line in muscles_of(body) for e in arguments(line)[:2]]
    args = arguments(muscle)
    side = rng.randrange(2)
    others = [e for e in ends if ast.dump(e) not in (ast.dump(args[0]), ast.dump(args[1]))]
    if others and rng.random() < 0.7:
        args[side] = copy.deepcopy(rng.choice(others))
        return True
    return nudge_numbers(ast.Module([muscle], []), rng)


def _muscles_in_loops(body: Body, variables: tuple[str, ...]) -> Iterator[tuple[ast.Call, tuple[str, ...]]]:
    """Every call that adds a muscle, with the names that count the loops around it."""
    for statement in body:
        inner = variables
        if isinstance(statement, ast.For) and is_call(statement.iter, "range"):
            inner = (*variables, *sorted(names_bound(statement.target)))
        if isinstance(statement, ast.Expr) and is_call(statement.value, "add_muscle"):
            assert isinstance(statement.value, ast.Call)
            yield statement.value, variables
        elif isinstance(statement, (ast.For, ast.If, ast.FunctionDef)):
            yield from _muscles_in_loops(statement.body, inner)
