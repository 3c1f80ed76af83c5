"""Changes of a program's numbers. Each takes one of the values listed for its role: amplitude, phase, count, size."""

from __future__ import annotations

import ast
import random

from terrains.sodarace.programs.body import read_skeleton
from terrains.sodarace.programs.number_grid import (
    AMPLITUDES,
    MOST_OF_A_KIND,
    PHASES,
    RATES,
    neighbour,
    neighbour_in_turn,
)
from terrains.sodarace.programs.syntax_tree import as_number, calls, is_call

COUNTS = tuple(range(2, MOST_OF_A_KIND + 1))
SIZES = tuple(range(10))
FACTORS = tuple(range(1, 10))
OFFSETS = (1, 2, 3)
PICKS = (0, 1)
WHOLE = {"count": COUNTS, "size": SIZES, "factor": FACTORS, "offset": OFFSETS, "pick": PICKS}


class NumberRoles(ast.NodeVisitor):
    """Sorts the numbers of a program by what they are for.

    Places and ends of muscles that are spelt out are left out: `mutation.body` changes those. So are the bounds of
    ranges, and numbers with more than one decimal, such as 6.28 for a whole turn.

    Args:
        tree: the program.

    Attributes:
        found: (number, role) in the order of the text.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[tuple[ast.Constant, str]] = []
        self._spelt_out = read_skeleton(tree) is not None
        self.visit(tree)

    def visit_Call(self, node: ast.Call) -> None:
        """A muscle's arguments have roles of their own."""
        if is_call(node, "add_muscle"):
            settings = [a for a in node.args[2:] if not (isinstance(a, ast.Constant) and isinstance(a.value, bool))]
            for end in node.args[:2]:
                self._end(end)
            for setting, role in zip(settings, ("amplitude", "phase"), strict=False):
                self._as(role, setting)
        elif not is_call(node, "range"):
            for argument in node.args:
                self.visit(argument)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """A bare index picks one of two, such as a place's x or y."""
        self.visit(node.value)
        if as_number(node.slice) is not None:
            self._as("pick", node.slice)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """A whole number that something is multiplied by must not be 0."""
        for side in (node.left, node.right):
            if isinstance(node.op, ast.Mult) and isinstance(side, ast.Constant) and type(side.value) is int:
                self._as("factor", side)
            else:
                self.visit(side)

    def visit_Assign(self, node: ast.Assign) -> None:
        """A name that holds a whole number counts something; a joint's place may belong to the skeleton."""
        if as_number(node.value) is not None:
            self._as("count", node.value)
        elif not (self._spelt_out and is_call(node.value, "add_joint")):
            self.visit(node.value)

    def visit_List(self, node: ast.List) -> None:
        """Rows of two numbers are places, longer ones muscles."""
        for row in node.elts:
            if isinstance(row, ast.Tuple) and all(map(as_number, row.elts)):
                for setting, role in zip(row.elts[:1:-1], ("phase", "amplitude"), strict=False):
                    self._as(role, setting)
            else:
                self.visit(row)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Whole numbers are sizes, those with one decimal rates, where nothing else is known of them."""
        if type(node.value) is int:
            self.found.append((node, "size"))
        elif type(node.value) is float and round(node.value, 1) == node.value:
            self.found.append((node, "rate"))

    def _as(self, role: str, node: ast.expr) -> None:
        number = as_number(node)
        if number is None:
            self.visit(node)
        else:
            self.found.append((number, role))

    def _end(self, node: ast.expr) -> None:
        """Numbers in an end of a muscle: bare indices, and offsets that go round, as in ``js[(i + 1) % n]``."""
        for n in ast.walk(node):
            if isinstance(n, ast.Subscript) and as_number(n.slice) is not None:
                self._as("pick", n.slice)
            elif isinstance(n, ast.BinOp) and isinstance(n.op, ast.Mod) and isinstance(n.left, ast.BinOp):
                self._as("offset", n.left.right)


def nudge_numbers(tree: ast.Module, rng: random.Random) -> bool:
    """Moves one to three numbers to a neighbour each."""
    found = NumberRoles(tree).found
    if not found:
        return False
    for number, role in rng.sample(found, min(len(found), rng.randint(1, 3))):
        number.value = _neighbour(number, role, rng)
    return True


def one_amplitude(tree: ast.Module, rng: random.Random) -> bool:
    """Gives all muscles the same amplitude."""
    found = [number for number, role in NumberRoles(tree).found if role == "amplitude"]
    value = rng.choice(AMPLITUDES[1:])
    for number in found:
        number.value = value
    return len(found) > 1


def against(tree: ast.Module, rng: random.Random) -> bool:
    """Turns every phase round, so that waves run the other way."""
    found = [number for number, role in NumberRoles(tree).found if role in ("phase", "rate")]
    for number in found:
        assert isinstance(number.value, (int, float))
        number.value = round(-number.value % 1.0, 1)
    return bool(found) and bool(calls(tree, "add_muscle"))


def _neighbour(number: ast.Constant, role: str, rng: random.Random) -> float:
    value = number.value
    assert isinstance(value, (int, float))
    if role == "amplitude":
        return neighbour(value, AMPLITUDES, rng)
    if role == "phase":
        return neighbour_in_turn(value, PHASES, rng)
    if role == "rate":
        return neighbour_in_turn(value, RATES, rng)
    return int(neighbour(value, WHOLE[role], rng))
