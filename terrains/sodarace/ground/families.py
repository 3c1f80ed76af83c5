"""The families of grounds: one function each, whose keyword arguments are the family's parameters.

Except at walls, what there is to cross lies on both sides of the start, so that neither direction is the easy one.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, NamedTuple, get_type_hints

import numpy as np

from terrains.sodarace.ground.geometry import END, SKY, WALL_HEIGHT, Ground, polyline

Point = tuple[float, float]

_TOP = 300.0
"""Stairs end at this height, below that of the walls at the ends of the world."""
_SLOPE_LENGTH = 500.0
_HILL_PIECES = 8
_DECIMALS = 6  # of what comes from functions whose last digits differ between machines


class Takes(NamedTuple):
    """What a parameter means, and its least and greatest value."""

    meaning: str
    least: float
    greatest: float


@dataclass(frozen=True)
class Parameter:
    """A parameter of a family; ``whole`` says that it is a whole number."""

    name: str
    default: float
    meaning: str
    least: float
    greatest: float
    whole: bool


Seed = Annotated[int, Takes("decides every draw", 0, 2**31)]
First = Annotated[float, Takes("distance from the start at which it begins, on both sides", 10.0, 400.0)]


def flat() -> Ground:
    """An even floor."""
    return Ground(polyline(_open_floor()))


def left_wall(
    distance: Annotated[float, Takes("from the walker's left edge to the wall", 0.5, 500.0)] = 10.0,
) -> Ground:
    """A wall to the left of the walker; open to the right."""
    return Ground(polyline(_open_floor(left=-distance)), spawn="left")


def right_wall(
    distance: Annotated[float, Takes("from the walker's right edge to the wall", 0.5, 500.0)] = 10.0,
) -> Ground:
    """A wall to the right of the walker; open to the left."""
    return Ground(polyline(_open_floor(right=distance)), spawn="right")


def bumpy(
    amplitude: Annotated[float, Takes("height of the boxes, give or take half", 0.0, 200.0)] = 12.0,
    spacing: Annotated[float, Takes("from box to box, about", 5.0, 400.0)] = 40.0,
    seed: Seed = 0,
) -> Ground:
    """Boxes with vertical sides all over the floor."""
    rng = random.Random(seed)

    def half() -> list[tuple[float, float, float]]:
        boxes, x = [], 0.0
        while x < END - 2 * spacing:
            width, high = spacing * rng.uniform(0.3, 0.6), amplitude * rng.uniform(0.5, 1.5)
            x += spacing * rng.uniform(0.5, 1.0)
            boxes.append((x, x + width, high))
            x += width
        return boxes

    rightward = half()
    leftward = [(-b, -a, high) for a, b, high in reversed(half())]
    points = [(-END, WALL_HEIGHT), (-END, 0.0)]
    for a, b, high in leftward + rightward:
        points += [(a, 0.0), (a, high), (b, high), (b, 0.0)]
    return Ground(polyline([*points, (END, 0.0), (END, WALL_HEIGHT)]))


def tunnel(
    height: Annotated[float, Takes("from the floor to the ceiling", 5.0, 300.0)] = 20.0,
    mouth: Annotated[float, Takes("distance from the start at which the ceiling begins", 10.0, 500.0)] = 55.0,
) -> Ground:
    """A ceiling on both sides of the start, which itself is under open sky."""
    right = [(mouth, SKY), (mouth, height), (END, height), (END, SKY)]
    left = [(-x, y) for x, y in reversed(right)]
    return Ground(polyline(_open_floor()), polyline(left + right))


def hills(
    amplitude: Annotated[float, Takes("height of the crests, give or take half", 0.0, 120.0)] = 10.0,
    wavelength: Annotated[float, Takes("from crest to crest, about", 20.0, 500.0)] = 80.0,
    seed: Seed = 0,
) -> Ground:
    """Smooth rolling hills."""
    rng = random.Random(seed)

    def half() -> list[Point]:
        knots = [(wavelength / 4, 0.0)]
        while knots[-1][0] < END - 1.5 * wavelength:
            crest = knots[-1][0] + wavelength * rng.uniform(0.35, 0.65)
            trough = crest + wavelength * rng.uniform(0.35, 0.65)
            knots += [(crest, amplitude * rng.uniform(0.5, 1.5)), (trough, amplitude * rng.uniform(0.0, 0.25))]
        return [*_smooth(knots), (END, knots[-1][1])]

    rightward = half()
    return Ground(_both_sides(half(), rightward))


def stairs(
    height: Annotated[float, Takes("height of a step", 0.5, 100.0)] = 5.0,
    length: Annotated[float, Takes("length of a step", 5.0, 400.0)] = 40.0,
    first: First = 30.0,
) -> Ground:
    """Steps up on both sides of the start, to at most 300 units."""
    half, x, y = [], first, 0.0
    while y + height <= _TOP and x < END:
        half += [(x, y), (x, y + height)]
        x, y = x + length, y + height
    half.append((END, y))
    return Ground(_both_sides(half, half))


def gap(
    width: Annotated[float, Takes("width of a ditch", 1.0, 300.0)] = 20.0,
    depth: Annotated[float, Takes("depth of a ditch", 1.0, 300.0)] = 60.0,
    spacing: Annotated[float, Takes("level floor between two ditches", 5.0, 900.0)] = 60.0,
    first: First = 30.0,
) -> Ground:
    """Ditches with vertical sides and a floor far below."""
    half, x = [], first
    while x + width < END:
        half += [(x, 0.0), (x, -depth), (x + width, -depth), (x + width, 0.0)]
        x += width + spacing
    half.append((END, 0.0))
    return Ground(_both_sides(half, half))


def slope(
    angle: Annotated[float, Takes("of the rise, in degrees; below 0 it goes down", -35.0, 35.0)] = 15.0,
    first: First = 30.0,
) -> Ground:
    """A rise on both sides of the start, 500 units long, and level ground behind it."""
    rise = round(_SLOPE_LENGTH * math.tan(math.radians(angle)), _DECIMALS)
    half = [(first, 0.0), (first + _SLOPE_LENGTH, rise), (END, rise)]
    return Ground(_both_sides(half, half))


FAMILIES: dict[str, Callable[..., Ground]] = {
    f.__name__: f for f in (flat, left_wall, right_wall, bumpy, tunnel, hills, stairs, gap, slope)
}
"""Every family by its name; its keyword arguments are its parameters."""


@cache
def parameters_of(family: str) -> dict[str, Parameter]:
    """Returns the parameters of a family by their names, in the order in which a name says them."""
    maker = FAMILIES[family]
    hints = get_type_hints(maker, include_extras=True)
    found = {}
    for name, known in inspect.signature(maker).parameters.items():
        takes: Takes = hints[name].__metadata__[0]
        whole = hints[name].__origin__ is int
        found[name] = Parameter(name, known.default, takes.meaning, takes.least, takes.greatest, whole)
    return found


def _open_floor(left: float = -END, right: float = END) -> list[Point]:
    return [
        (-END, WALL_HEIGHT),
        (left, WALL_HEIGHT),
        (left, 0.0),
        (right, 0.0),
        (right, WALL_HEIGHT),
        (END, WALL_HEIGHT),
    ]


def _both_sides(left: list[Point], right: list[Point]) -> np.ndarray:
    """A floor from what lies on either side: points outwards from the start, the last ones at the end of the world."""
    mirrored = [(-x, y) for x, y in reversed(left)]
    return polyline([(-END, WALL_HEIGHT), *mirrored, *right, (END, WALL_HEIGHT)])


def _smooth(knots: list[Point]) -> list[Point]:
    """Points of half cosine waves from knot to knot."""
    points = [knots[0]]
    for (x0, y0), (x1, y1) in zip(knots, knots[1:], strict=False):
        for k in range(1, _HILL_PIECES + 1):
            part = k / _HILL_PIECES
            y = y0 + (y1 - y0) * (1 - math.cos(math.pi * part)) / 2
            points.append((x0 + part * (x1 - x0), round(y, _DECIMALS)))
    return points
