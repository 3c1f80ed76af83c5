"""Programs of every kind, as hypothesis strategies: texts, syntax trees, and real programs with bits flipped."""

from __future__ import annotations

import ast
import random

from hypothesis import strategies as st

from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.programs.styles import STYLES

NAMES = st.sampled_from(
    ["wc", "a", "b", "i", "x", "math", "walker_creator", "make_walker", "range", "len", "list", "int", "print", "_"]
)
ATTRIBUTES = st.sampled_from(["add_joint", "add_muscle", "get_walker", "pi", "sin", "append", "joints", "__class__"])
CONSTANTS = st.one_of(
    st.integers(-9, 9),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(), max_size=5),
    st.sampled_from([None, True, False, b"", 2**64, 1e308]),
)
OPERATORS = st.sampled_from([ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.LShift])
COMPARISONS = st.sampled_from([ast.Eq, ast.Lt, ast.In, ast.Is, ast.NotIn])


def load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def store(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def arguments(names: list[str]) -> ast.arguments:
    each = [ast.arg(name) for name in dict.fromkeys(names)]
    return ast.arguments(posonlyargs=[], args=each, kwonlyargs=[], kw_defaults=[], defaults=[])


def compound(inner: st.SearchStrategy[ast.expr]) -> st.SearchStrategy[ast.expr]:
    """Expressions that hold others."""
    several = st.lists(inner, max_size=3)
    loops = st.builds(lambda n, e: ast.comprehension(store(n), e, [], 0), NAMES, inner)
    return st.one_of(
        st.builds(lambda a, o, b: ast.BinOp(a, o(), b), inner, OPERATORS, inner),
        st.builds(lambda a, o, b: ast.Compare(a, [o()], [b]), inner, COMPARISONS, inner),
        st.builds(lambda a, b: ast.BoolOp(ast.And(), [a, b]), inner, inner),
        st.builds(lambda a: ast.UnaryOp(ast.USub(), a), inner),
        st.builds(ast.IfExp, inner, inner, inner),
        st.builds(lambda f, a: ast.Call(f, a, []), inner, several),
        st.builds(lambda f, a: ast.Call(f, [ast.Starred(a, ast.Load())], []), inner, inner),
        st.builds(lambda f, n, a: ast.Call(f, [], [ast.keyword(n, a)]), inner, NAMES, inner),
        st.builds(lambda e, n: ast.Attribute(e, n, ast.Load()), inner, ATTRIBUTES),
        st.builds(lambda e, k: ast.Subscript(e, k, ast.Load()), inner, inner),
        st.builds(lambda e: ast.List(e, ast.Load()), several),
        st.builds(lambda e: ast.Tuple(e, ast.Load()), several),
        st.builds(lambda k, v: ast.Dict([k], [v]), inner, inner),
        st.builds(lambda e, c: ast.ListComp(e, [c]), inner, loops),
        st.builds(lambda n, e: ast.Lambda(arguments(n), e), st.lists(NAMES, max_size=2), inner),
    )


expressions = st.recursive(st.one_of(CONSTANTS.map(ast.Constant), NAMES.map(load)), compound, max_leaves=8)


def call(method: str, *values: ast.expr) -> ast.Expr:
    return ast.Expr(ast.Call(ast.Attribute(load("wc"), method, ast.Load()), list(values), []))


small = st.integers(-1, 12).map(ast.Constant)
number = st.one_of(small, small, CONSTANTS.map(ast.Constant), expressions)
building = st.one_of(
    st.builds(lambda x, y: call("add_joint", x, y), small, small),
    st.builds(lambda x, y: call("add_joint", x, y), number, number),
    st.builds(lambda a, b, s: call("add_muscle", a, b, *s), small, small, st.lists(small, max_size=2)),
    st.builds(lambda a, b, s: call("add_muscle", a, b, *s), number, number, st.lists(number, max_size=4)),
)

simple = st.one_of(
    building,
    building,
    st.builds(lambda n, e: ast.Assign([store(n)], e, lineno=0), NAMES, expressions),
    st.builds(lambda n, o, e: ast.AugAssign(store(n), o(), e), NAMES, OPERATORS, expressions),
    st.builds(ast.Expr, expressions),
    st.builds(ast.Return, expressions),
    st.builds(ast.Raise, expressions),
    st.builds(lambda n: ast.Global([n]), NAMES),
    st.sampled_from([ast.Pass(), ast.Break(), ast.Continue()]),
)


def block(inner: st.SearchStrategy[ast.stmt]) -> st.SearchStrategy[ast.stmt]:
    """Statements that hold others."""
    bodies = st.lists(inner, min_size=1, max_size=3)
    names = st.lists(NAMES, max_size=2)
    functions = st.builds(lambda n, p, b: ast.FunctionDef(n, arguments(p), b, [], lineno=0), NAMES, names, bodies)
    return st.one_of(
        st.builds(lambda e, b: ast.If(e, b, []), expressions, bodies),
        st.builds(lambda e, b: ast.While(e, b, []), expressions, bodies),
        st.builds(lambda n, e, b: ast.For(store(n), e, b, [], lineno=0), NAMES, expressions, bodies),
        st.builds(lambda b, h: ast.Try(b, [ast.ExceptHandler(None, None, h)], [], []), bodies, bodies),
        functions,
        st.builds(lambda n, b: ast.ClassDef(n, [], [], [b], []), NAMES, functions),
    )


statements = st.recursive(simple, block, max_leaves=6)


def as_program(body: list[ast.stmt], whole: bool) -> str:
    """Source of the statements; if not whole, inside make_walker and between its usual first and last lines."""
    if not whole:
        start, end = ast.parse("wc = walker_creator()").body, ast.parse("wc.get_walker()", mode="eval").body
        body = [ast.FunctionDef("make_walker", arguments([]), [*start, *body, ast.Return(end)], [], lineno=0)]
    tree = ast.Module([*ast.parse("import math").body, *body], [])
    return ast.unparse(ast.fix_missing_locations(tree))


trees = st.builds(as_program, st.lists(statements, min_size=1, max_size=8), st.booleans())

texts = st.text(st.characters(), max_size=300)

real = st.one_of(
    st.sampled_from(sorted(SEEDS.values())),
    st.builds(lambda style, seed: STYLES[style](random.Random(seed)), st.sampled_from(sorted(STYLES)), st.integers()),
)


def flip(program: str, places: list[int]) -> str:
    """The program with single bits of its bytes turned over; what is no UTF-8 becomes lone surrogates."""
    data = bytearray(program.encode())
    for place in places:
        data[place // 8 % len(data)] ^= 1 << place % 8
    return data.decode("utf-8", "surrogateescape")


flipped = st.builds(flip, real, st.lists(st.integers(0, 2**16), min_size=1, max_size=8))
