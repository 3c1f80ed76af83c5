"""Several grounds as one: their floors on top of each other, under the ceiling of the one that has a ceiling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from terrains.sodarace.ground.geometry import END, SKY, WALL_HEIGHT, Ground, limits, polyline

_PIECE, _FINEST = 2.0, 0.5
"""Longest straight piece of a ceiling that follows a floor, and of one that is close to it, units."""
_STEEP = 2.0
"""A ceiling that rises by more than this becomes a vertical face."""
_INSIDE = 1e-9


Point = tuple[float, float]


def combine(grounds: Sequence[Ground]) -> Ground:
    """Adds up the floors of grounds, and raises the ceiling so that nothing under it becomes narrower.

    Where one of the floors is a wall, the sum is that wall. The ceiling follows the floor that is added beneath it: it
    stays as far from that floor, in any direction, as it was above its own. Vertical sides need this: a ceiling raised
    by the height right below it would leave no way past a box that is taller than the tunnel.

    Args:
        grounds: what to add up; the order does not matter.

    Raises:
        ValueError: two have a ceiling, or one starts at a wall to the left and another at one to the right.
    """
    roofed = [ground for ground in grounds if ground.ceiling is not None]
    if len(roofed) > 1:
        raise ValueError("two parts have a ceiling, and there can be only one")
    spawns = {ground.spawn for ground in grounds} - {"center"}
    if len(spawns) > 1:
        raise ValueError("one part starts with the walker's left edge at a wall and another with its right edge")
    floor = _sum([ground.floor for ground in grounds])
    ceiling = None
    if roofed:
        added = [ground.floor for ground in grounds if ground is not roofed[0]]
        ceiling = _raised(roofed[0], _sum(added) if added else None)
    return Ground(floor, ceiling, spawns.pop() if spawns else "center")


def _sum(floors: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of floors, walls kept as they are."""
    x = np.unique(np.concatenate([floor[:, 0] for floor in floors]))
    left, right = (_add(heights) for heights in zip(*(limits(floor, x) for floor in floors), strict=True))
    left[0] = right[-1] = WALL_HEIGHT  # the ends of the world
    points = [(float(p), float(y)) for p, a, b in zip(x, left, right, strict=True) for y in (a, b)]
    return polyline(_straightened(_cut(points)))


def _add(heights: Sequence[np.ndarray]) -> np.ndarray:
    """Exact sums, so that the order does not matter; WALL_HEIGHT where one of the heights is a wall's."""
    sums = np.array([math.fsum(column) for column in zip(*heights, strict=True)])
    return np.where(np.max(heights, axis=0) >= WALL_HEIGHT, WALL_HEIGHT, sums)


def _cut(points: list[Point]) -> list[Point]:
    """A polyline with what is higher than a wall taken off."""
    kept = points[:1]
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if (y0 - WALL_HEIGHT) * (y1 - WALL_HEIGHT) < 0:
            kept.append((x0 + (x1 - x0) * (WALL_HEIGHT - y0) / (y1 - y0), WALL_HEIGHT))
        kept.append((x1, y1))
    return [(x, min(y, WALL_HEIGHT)) for x, y in kept]


def _raised(ground: Ground, added: np.ndarray | None) -> np.ndarray:
    """The ceiling of a ground above that ground's floor and another one on top of it."""
    assert ground.ceiling is not None
    if added is None:
        return ground.ceiling
    where = _samples(added)
    points: list[Point] = []
    for (x0, y0), (x1, y1) in zip(ground.ceiling, ground.ceiling[1:], strict=False):
        if x1 <= x0:
            continue  # a face: the pieces on its two sides are joined anyway
        if max(y0, y1) >= SKY:
            points += [(float(x0), float(y0)), (float(x1), float(y1))]
            continue
        points += _raised_piece(ground.floor, added, where, (float(x0), float(y0)), (float(x1), float(y1)))
    return polyline(_straightened([(float(ground.ceiling[0, 0]), SKY), *points, (float(ground.ceiling[-1, 0]), SKY)]))


def _raised_piece(own: np.ndarray, added: np.ndarray, where: np.ndarray, a: Point, b: Point) -> list[Point]:
    """A straight piece of a ceiling, from a to b above its own floor, as it runs above the added floor as well."""
    (x0, y0), (x1, y1) = a, b
    ends = np.array([x0 + _INSIDE, x1 - _INSIDE])
    least = np.min(np.array([y0, y1]) - np.maximum(*limits(own, ends)))
    pieces = math.ceil((x1 - x0) / min(max(least / 8, _FINEST), _PIECE))
    x = np.linspace(x0, x1, 1 + pieces)
    inside = np.clip(x, *ends)
    y = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    reach = np.maximum(y - np.maximum(*limits(own, inside)), 0.0)
    below = np.maximum(*limits(added, inside))
    y = np.minimum(y + [_rise(where, *each) for each in zip(x, reach, below, strict=True)], SKY - 1.0)
    points = [(x0, float(y[0]))]
    for k in range(1, len(x)):
        if abs(y[k] - y[k - 1]) > _STEEP * (x[k] - x[k - 1]):
            # A straight line would cut off what is below a corner: a face, on the side where there is room for it.
            points.append((float(x[k - 1]), float(y[k])) if y[k] > y[k - 1] else (float(x[k]), float(y[k - 1])))
        points.append((float(x[k]), float(y[k])))
    return points


def _samples(floor: np.ndarray) -> np.ndarray:
    """Points (k, 2) all along a floor, its walls at the ends of the world left out."""
    parts = [floor]
    for (x0, y0), (x1, y1) in zip(floor, floor[1:], strict=False):
        pieces = math.ceil((x1 - x0) / _FINEST)
        if pieces > 1:
            part = np.linspace(0, 1, pieces + 1)[1:-1, None]
            parts.append(np.array([[x0, y0]]) * (1 - part) + np.array([[x1, y1]]) * part)
    points = np.concatenate(parts)
    points = points[(points[:, 1] < WALL_HEIGHT) & (np.abs(points[:, 0]) <= END)]
    return points[np.argsort(points[:, 0], kind="stable")]


def _rise(floor: np.ndarray, x: float, reach: float, least: float) -> float:
    """How far a ceiling at x, ``reach`` above a level floor, has to rise to stay that far from this floor.

    Args:
        floor: points all along the floor, shape (k, 2).
        x: where.
        reach: distance to keep, in any direction.
        least: height of the floor right below.
    """
    if least >= WALL_HEIGHT:
        return least
    low, high = np.searchsorted(floor[:, 0], [x - reach, x + reach], side="left")
    near = floor[low:high]
    away = np.minimum(np.abs(near[:, 0] - x), reach)
    return float(max(least, *(near[:, 1] + np.sqrt(reach**2 - away**2) - reach))) if len(near) else least


def _straightened(points: list[Point]) -> list[Point]:
    """A polyline without the points that lie on the straight line between their neighbours."""
    kept: list[Point] = []
    for point in points:
        while len(kept) > 1 and _between(kept[-2], kept[-1], point):
            kept.pop()
        if not kept or kept[-1] != point:
            kept.append(point)
    return kept


def _between(a: Point, b: Point, c: Point) -> bool:
    """Whether b lies on the line from a to c, and between them."""
    away = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    along = (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1])
    return abs(away) <= 1e-9 * max(1.0, abs(c[0] - a[0]) + abs(c[1] - a[1])) and along >= 0
