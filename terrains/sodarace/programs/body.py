"""Bodies that a program spells out: places of joints, and pairs of joints with their muscles.

A program spells them out either line by line (``j0 = wc.add_joint(0, 2)``) or in lists of tuples. Both are read into a
Skeleton, changed there, and written back onto the syntax tree, always with the joints from left to right and the
muscles in the order of their ends, so that one body has one text.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from terrains.sodarace.programs.syntax_tree import arguments, as_number, is_call, maker, muscles_of, tuples

Place = tuple[int, int]
Muscle = tuple[int, int, tuple[float, ...]]


@dataclass(frozen=True)
class Skeleton:
    """Joints and muscles as a program spells them out.

    Attributes:
        places: (x, y) of each joint.
        muscles: (joint, joint, settings) of each muscle, the settings as the program gives them: amplitude and phase,
            or the phase alone; None where loops make the muscles.
    """

    places: tuple[Place, ...]
    muscles: tuple[Muscle, ...] | None


def tidy(places: Sequence[Place], muscles: Sequence[Muscle] | None) -> Skeleton:
    """Returns the skeleton with its joints from left to right, and one muscle at most between two joints."""
    order = sorted(range(len(places)), key=lambda k: places[k])
    rank = {k: at for at, k in enumerate(order)}
    if muscles is None:
        return Skeleton(tuple(places[k] for k in order), None)
    by_ends: dict[tuple[int, int], Muscle] = {}
    for a, b, settings in muscles:
        low, high = sorted((rank[a], rank[b]))
        if low != high:
            by_ends.setdefault((low, high), (low, high, settings))
    return Skeleton(tuple(places[k] for k in order), tuple(by_ends[ends] for ends in sorted(by_ends)))


def read_skeleton(tree: ast.Module) -> Skeleton | None:
    """Returns what the program spells out, or None if its joints come from expressions."""
    lists = tuples(tree, (2,))
    if lists:
        pairs = tuples(tree, (3, 4))
        muscles = [_muscle([_value(e) for e in _elements(row)]) for row in pairs[0].elts] if pairs else None
        places = [_place([_value(e) for e in _elements(row)]) for row in lists[0].elts]
        return tidy(places, muscles) if muscles is None or _known(muscles, len(places)) else None
    return _read_lines(tree)


def write_skeleton(tree: ast.Module, skeleton: Skeleton) -> None:
    """Puts a skeleton in the place of the one that was read from this tree."""
    lists = tuples(tree, (2,))
    if not lists:
        _write_lines(tree, skeleton)
        return
    lists[0].elts = [_tuple(place) for place in skeleton.places]
    if skeleton.muscles is not None:
        tuples(tree, (3, 4))[0].elts = [_tuple((a, b, *settings)) for a, b, settings in skeleton.muscles]


def _read_lines(tree: ast.Module) -> Skeleton | None:
    function = maker(tree)
    if function is None:
        return None
    names: dict[str, int] = {}
    places: list[Place] = []
    for statement in function.body:
        if isinstance(statement, ast.Assign) and is_call(statement.value, "add_joint"):
            assert isinstance(statement.value, ast.Call)
            target = statement.targets[0]
            if not isinstance(target, ast.Name) or not all(map(as_number, statement.value.args)):
                return None
            names[target.id] = len(places)
            places.append(_place([_value(e) for e in statement.value.args]))
    muscles: list[Muscle] = []
    for muscle in muscles_of(function.body):
        a, b, *settings = arguments(muscle)
        ends = [names[e.id] for e in (a, b) if isinstance(e, ast.Name) and e.id in names]
        if len(ends) < 2 or len(settings) != 2 or not all(map(as_number, settings)):
            return None
        muscles.append((ends[0], ends[1], tuple(_value(e) for e in settings)))
    return tidy(places, muscles) if places and muscles else None


def _write_lines(tree: ast.Module, skeleton: Skeleton) -> None:
    function = maker(tree)
    assert function is not None and skeleton.muscles is not None
    lines = [f"j{k} = wc.add_joint({x}, {y})" for k, (x, y) in enumerate(skeleton.places)]
    lines += [f"wc.add_muscle(j{a}, j{b}, {r}, {p})" for a, b, (r, p) in skeleton.muscles]
    function.body[1:-1] = ast.parse("\n".join(lines)).body


def _elements(row: ast.expr) -> list[ast.expr]:
    assert isinstance(row, ast.Tuple)
    return row.elts


def _value(node: ast.AST) -> float:
    number = as_number(node)
    assert number is not None and isinstance(number.value, (int, float))
    return number.value


def _place(values: Sequence[float]) -> Place:
    return int(values[0]), int(values[1])


def _muscle(values: Sequence[float]) -> Muscle:
    return int(values[0]), int(values[1]), tuple(values[2:])


def _known(muscles: Sequence[Muscle], joints: int) -> bool:
    return all(0 <= end < joints for a, b, _ in muscles for end in (a, b))


def _tuple(values: Sequence[float]) -> ast.Tuple:
    return ast.Tuple([ast.Constant(v) for v in values], ast.Load())
