"""Random programs in several styles: the raw material of Stage 1.

Each style is a function ``rng -> source``. The styles differ in *how* they build a body (joints written one by one,
lists, grids, wheels, trusses, helper functions, fields that set muscles by position), so that a soft prompt has
something to choose between.
Every program is short on purpose: what a language model has to write is what sampling and learning pay for.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable
from textwrap import dedent, indent

from terrains.sodarace.instruction import INSTRUCTION

Style = Callable[[random.Random], str]


def _coordinate(rng: random.Random, low: int = 0, high: int = 10) -> str:
    return str(rng.randint(low, high))


def _even(rng: random.Random, high: int) -> str:
    """An even coordinate: a walker's behaviour does not depend on single units."""
    return str(rng.randrange(0, high + 1, 2))


def _amplitude(rng: random.Random) -> str:
    return f"{rng.choices([2.0, 1.5, 1.0, 0.5], weights=[6, 2, 2, 1])[0]:.1f}"


def _phase(rng: random.Random) -> str:
    return f"{rng.choice([0.0, 0.2, 0.4, 0.6, 0.8]):.1f}"


def _phase_of(rng: random.Random, index: str) -> str:
    """An expression that gives the muscles of a series a travelling wave, or one shared beat."""
    return _phase(rng) if rng.random() < 0.3 else f"{index} * {rng.choice([0.1, 0.2, 0.3, 0.5]):.1f}"


def _program(body: str, helpers: str = "") -> str:
    """Wraps a body into a whole program in one canonical layout, so that equal programs have equal texts."""
    lines = ["def make_walker():", "    wc = walker_creator()", indent(body, "    "), "    return wc.get_walker()"]
    return canonical(f"{INSTRUCTION}{helpers}\n" + "\n".join(lines))


def canonical(source: str) -> str:
    """Returns the program in the one layout of the corpus: as ``ast.unparse`` writes it, without blank lines.

    Raises:
        SyntaxError: the source is not Python.
    """
    return print_program(ast.parse(source))


def print_program(tree: ast.Module) -> str:
    """Returns the program of a syntax tree in that layout; ``tree`` need not carry line numbers."""
    text = ast.unparse(tree)
    return "\n".join(line for line in text.split("\n") if line.strip()) + "\n"


def _connected_pairs(rng: random.Random, n: int, extra: int) -> list[tuple[int, int]]:
    pairs = {(rng.randrange(k), k) for k in range(1, n)}
    for _ in range(extra * 3):
        a, b = sorted(rng.sample(range(n), 2))
        if len(pairs) < n - 1 + extra:
            pairs.add((a, b))
    return sorted(pairs)


def _points(rng: random.Random, n: int) -> list[tuple[str, str]]:
    """Points from left to right, no two at one x, so that a writer who goes on to the right never repeats a place.

    The box is drawn first, so that flat, tall, small and large bodies all occur.
    """
    width, height = max(rng.choice([4, 6, 8, 10]), 2 * (n - 1)), rng.choice([2, 4, 6])
    return [(str(x), _even(rng, height)) for x in sorted(rng.sample(range(0, width + 1, 2), n))]


def straight(rng: random.Random) -> str:
    """Joints and muscles written out one by one, as in ELM's square seed."""
    n, r = rng.randint(3, 5), _amplitude(rng)
    lines = [f"j{i} = wc.add_joint({x}, {y})" for i, (x, y) in enumerate(_points(rng, n))]
    for a, b in _connected_pairs(rng, n, rng.randint(1, 2)):
        lines.append(f"wc.add_muscle(j{a}, j{b}, {r}, {_phase(rng)})")
    return _program("\n".join(lines))


def listed(rng: random.Random) -> str:
    """Joints and muscles as lists of tuples that two loops read."""
    n = rng.randint(3, 6)
    points = ", ".join(f"({x}, {y})" for x, y in _points(rng, n))
    pairs = _connected_pairs(rng, n, rng.randint(1, 2))
    if rng.random() < 0.5:
        muscles = ", ".join(f"({a}, {b}, {_phase(rng)})" for a, b in pairs)
        loop = f"for a, b, p in [{muscles}]:\n    wc.add_muscle(js[a], js[b], {_amplitude(rng)}, p)"
    else:
        muscles = ", ".join(f"({a}, {b}, {_amplitude(rng)}, {_phase(rng)})" for a, b in pairs)
        loop = f"for a, b, r, p in [{muscles}]:\n    wc.add_muscle(js[a], js[b], r, p)"
    return _program(f"js = [wc.add_joint(x, y) for x, y in [{points}]]\n{loop}")


def complete(rng: random.Random) -> str:
    """A few joints, every pair of them joined by a muscle whose phase depends on the pair."""
    points = ", ".join(f"({x}, {y})" for x, y in _points(rng, rng.randint(3, 6)))
    phase = rng.choice(
        [_phase_of(rng, "i"), _phase_of(rng, "k"), f"(i + k) * {_phase(rng)}", f"i * {_phase(rng)} + k * {_phase(rng)}"]
    )
    body = f"""\
        js = [wc.add_joint(x, y) for x, y in [{points}]]
        for i in range(len(js)):
            for k in range(i):
                wc.add_muscle(js[i], js[k], {_amplitude(rng)}, {phase})"""
    return _program(dedent(body))


def grid(rng: random.Random) -> str:
    """A lattice of joints with muscles along rows, columns and diagonals."""
    dx, dy = _coordinate(rng, 1, 4), _coordinate(rng, 1, 4)
    slant = f" + y * {_coordinate(rng, 1, 2)}" if rng.random() < 0.4 else ""
    lines = [f"w = {rng.randint(2, 5)}", f"h = {rng.randint(2, 3)}"]
    lines += [f"g = [[wc.add_joint(x * {dx}{slant}, y * {dy}) for y in range(h)] for x in range(w)]"]
    lines += ["for x in range(w):", "    for y in range(h - 1):"]
    lines += [f"        wc.add_muscle(g[x][y], g[x][y + 1], {_amplitude(rng)}, {_phase_of(rng, 'x')})"]
    lines += ["for x in range(w - 1):", "    for y in range(h):"]
    lines += [f"        wc.add_muscle(g[x][y], g[x + 1][y], {_amplitude(rng)}, {_phase_of(rng, rng.choice('xy'))})"]
    if rng.random() < 0.75:
        lines += ["for x in range(w - 1):"]
        ends = rng.choice(["g[x][0], g[x + 1][1]", "g[x][1], g[x + 1][0]"])
        lines += [f"    wc.add_muscle({ends}, {_amplitude(rng)}, {_phase_of(rng, 'x')})"]
    return _program("\n".join(lines))


def radial(rng: random.Random) -> str:
    """A hub with a rim of joints around it: spokes and rim are muscles."""
    n, rx, ry = rng.randint(3, 8), _coordinate(rng, 2, 6), _coordinate(rng, 1, 5)
    turn = f" + {_phase(rng)}" if rng.random() < 0.3 else ""
    angle = f"i * 6.28 / n{turn}"
    lines = [f"n = {n}", f"c = wc.add_joint({_coordinate(rng, 0, 1)}, {_coordinate(rng, 0, 1)})"]
    lines += [
        f"js = [wc.add_joint({rx} * math.cos({angle}), {ry} * math.sin({angle})) for i in range(n)]",
        "for i in range(n):",
    ]
    lines += [f"    wc.add_muscle(c, js[i], {_amplitude(rng)}, {_phase_of(rng, 'i')})"]
    lines += [f"    wc.add_muscle(js[i], js[(i + 1) % n], {_amplitude(rng)}, {_phase_of(rng, 'i')})"]
    if n > 4 and rng.random() < 0.3:
        lines += [f"    wc.add_muscle(js[i], js[(i + 2) % n], {_amplitude(rng)}, {_phase_of(rng, 'i')})"]
    return _program("\n".join(lines))


def truss(rng: random.Random) -> str:
    """Two rows of joints, a spine above and feet below, braced by muscles: the caterpillars."""
    dx = _coordinate(rng, 1, 4)
    lines = [f"n = {rng.randint(2, 6)}", f"top = [wc.add_joint(i * {dx}, {_coordinate(rng, 2, 6)}) for i in range(n)]"]
    lines += [f"low = [wc.add_joint(i * {dx} + {_coordinate(rng, 0, 3)}, {_coordinate(rng, 0, 1)}) for i in range(n)]"]
    lines += ["for i in range(n):", f"    wc.add_muscle(top[i], low[i], {_amplitude(rng)}, {_phase_of(rng, 'i')})"]
    lines += ["for i in range(n - 1):"]
    braces = ["top[i], top[i + 1]", "low[i], low[i + 1]", "top[i], low[i + 1]", "low[i], top[i + 1]"]
    for ends in rng.sample(braces, rng.randint(2, 4)):
        lines += [f"    wc.add_muscle({ends}, {_amplitude(rng)}, {_phase_of(rng, 'i')})"]
    return _program("\n".join(lines))


def legged(rng: random.Random) -> str:
    """A helper that adds one leg, called several times, and a body that joins the legs."""
    x, h, foot = _coordinate(rng, 2, 5), _coordinate(rng, 2, 6), _coordinate(rng, -3, 3)
    helper = f"""\
        def leg(wc, x, h, p):
            a = wc.add_joint(x, h)
            b = wc.add_joint(x + {foot}, 0)
            wc.add_muscle(a, b, {_amplitude(rng)}, p)
            return (a, b)
    """
    body = f"""\
        n = {rng.randint(2, 5)}
        legs = [leg(wc, i * {x}, {h}, {_phase_of(rng, "i")}) for i in range(n)]
        for i in range(n - 1):
            wc.add_muscle(legs[i][0], legs[i + 1][0], {_amplitude(rng)}, {_phase_of(rng, "i")})
            wc.add_muscle(legs[i][{rng.choice("01")}], legs[i + 1][1], {_amplitude(rng)}, {_phase_of(rng, "i")})"""
    if rng.random() < 0.6:
        body += f"\n            wc.add_muscle(legs[i][1], legs[i + 1][0], {_amplitude(rng)}, {_phase(rng)})"
    return _program(dedent(body), dedent(helper))


def field(rng: random.Random) -> str:
    """Points joined wherever they are near, each muscle's beat a function of its place: small CPPN walkers."""
    points = ", ".join(f"({x}, {y})" for x, y in _points(rng, rng.randint(4, 6)))
    body = f"""\
        ps = [{points}]
        js = [wc.add_joint(x, y) for x, y in ps]
        for i in range(len(ps)):
            for k in range(i):
                if math.dist(ps[i], ps[k]) < {rng.randint(4, 9)}:
                    wc.add_muscle(js[i], js[k], {_amplitude(rng)}, beat(ps[i][0], ps[k][1]))"""
    return _program(dedent(body), _beat(rng))


def _beat(rng: random.Random) -> str:
    """A helper that gives a muscle's phase as a wave over the plane."""
    wave = rng.choice(["math.sin", "math.cos"])
    return dedent(f"""\
        def beat(x, y):
            return {wave}(x * {_phase(rng)} + y * {_phase(rng)})
    """)


def cppn(rng: random.Random) -> str:
    """A lattice of points joined where they are near, their muscles functions of place: ELM's CPPN seeds in small."""
    dx, dy = rng.randint(2, 4), rng.randint(2, 4)
    body = f"""\
        ps = [(x * {dx}, y * {dy}) for x in range({rng.randint(2, 5)}) for y in range({rng.randint(2, 3)})]
        js = [wc.add_joint(x, y) for x, y in ps]
        for i in range(len(ps)):
            for k in range(i):
                if math.dist(ps[i], ps[k]) < {rng.randint(max(dx, dy) + 1, 7)}:
                    wc.add_muscle(js[i], js[k], {_amplitude(rng)}, beat(ps[i][0], ps[k][1]))"""
    return _program(dedent(body), _beat(rng))


def shapes(rng: random.Random) -> str:
    """A helper that adds a closed shape, called once or twice, and muscles along its rim and to a hub: ELM's square."""
    rim = rng.choice(
        [
            "wc.add_joint(x, y), wc.add_joint(x + w, y), wc.add_joint(x + w, y + h), wc.add_joint(x, y + h)",
            "wc.add_joint(x, y), wc.add_joint(x + w, y), wc.add_joint(x, y + h)",
            "wc.add_joint(x, y), wc.add_joint(x + w, y + h), wc.add_joint(x, y + h)",
            "wc.add_joint(x, y), wc.add_joint(x + w, y), wc.add_joint(x + w + w, y + h), wc.add_joint(x + w, y + h)",
        ]
    )
    helper = f"""\
        def shape(wc, x, y, w, h):
            return [{rim}]
    """
    w, h = rng.choice([2, 4, 6]), rng.choice([2, 4, 6])
    second = ""
    if rng.random() < 0.5:
        beside = w + rng.randint(1, 3)
        second = f" + shape(wc, {beside}, {_even(rng, 4)}, {rng.choice([2, 4, 6])}, {rng.choice([2, 4])})"
    body = f"""\
        js = shape(wc, 0, 0, {w}, {h}){second}
        n = len(js)
        c = wc.add_joint({rng.choice([1, 3, 5])}, {rng.choice([1, 3, 5])})
        for i in range(n):
            wc.add_muscle(c, js[i], {_amplitude(rng)}, {_phase_of(rng, "i")})
            wc.add_muscle(js[i], js[(i + 1) % n], {_amplitude(rng)}, {_phase_of(rng, "i")})"""
    return _program(dedent(body), dedent(helper))


STYLES: dict[str, Style] = {
    style.__name__: style for style in (straight, listed, complete, grid, radial, shapes, truss, legged, field, cppn)
}
"""Every style by its name."""
