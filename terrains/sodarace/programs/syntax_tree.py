"""Finds the parts of a program on its syntax tree: places, muscles, helpers, and what each number is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator

Body = list[ast.stmt]


def as_number(node: ast.AST) -> ast.Constant | None:
    """Returns the node if it is a number, else None."""
    return node if isinstance(node, ast.Constant) and type(node.value) in (int, float) else None


def is_call(node: ast.AST, name: str) -> bool:
    """Whether the node calls a method or function of that name."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)) == name


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Every call of that name, in the order of the text."""
    return [n for n in in_order(tree) if isinstance(n, ast.Call) and is_call(n, name)]


def in_order(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node in the order of the text; ``ast.walk`` goes by depth."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(list(ast.iter_child_nodes(node))))


def tuples(tree: ast.AST, lengths: tuple[int, ...]) -> list[ast.List]:
    """The lists of tuples of numbers, all of one of the lengths: ``[(0, 2), (4, 0)]`` for ``(2,)``."""
    return [n for n in in_order(tree) if isinstance(n, ast.List) and n.elts and _all_tuples(n, lengths)]


def _all_tuples(node: ast.List, lengths: tuple[int, ...]) -> bool:
    return all(isinstance(e, ast.Tuple) and len(e.elts) in lengths and all(map(as_number, e.elts)) for e in node.elts)


def maker(tree: ast.Module) -> ast.FunctionDef | None:
    """The function make_walker, or None."""
    return next((f for f in functions(tree) if f.name == "make_walker"), None)


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """The program's functions."""
    return [n for n in tree.body if isinstance(n, ast.FunctionDef)]


def helpers(tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions that make_walker calls."""
    return [f for f in functions(tree) if f.name != "make_walker"]


def bodies(tree: ast.AST) -> list[Body]:
    """Every block of statements that adds a muscle."""
    blocks = [n.body for n in in_order(tree) if isinstance(n, (ast.FunctionDef, ast.For, ast.If))]
    return [block for block in blocks if muscles_of(block)]


def muscles_of(body: Body) -> list[ast.Expr]:
    """The statements of a block that add a muscle, those of inner blocks not among them."""
    return [s for s in body if isinstance(s, ast.Expr) and is_call(s.value, "add_muscle")]


def arguments(statement: ast.stmt) -> list[ast.expr]:
    """The arguments of the call that is the statement."""
    assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    return statement.value.args


def names_read(node: ast.AST) -> set[str]:
    """Names that are read below a node and not bound there."""
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - names_bound(node)


def names_bound(node: ast.AST) -> set[str]:
    """Names that are assigned below a node, loops and comprehensions included."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
