"""Grounds: a floor, ceilings, and where a walker starts. Everything a family needs is in its one function.

Lengths are world units; one unit of a program is 6.8 of them, so that a walker is some 30 to 70 units wide.
"""

from __future__ import annotations

import difflib
import hashlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

END = 1000.0
"""The world ends in walls this far from the origin on both sides."""

WALL_HEIGHT = 400.0
"""Height of every wall: no walker climbs it."""

SKY = 3 * WALL_HEIGHT
"""Height of a ceiling where there is none: no walker is ever there."""

_PROFILE = np.array(
    [-160, -120, -90, -70, -55, -42, -30, -20, -10, 10, 20, 30, 42, 55, 70, 90, 120, 160], dtype=np.float64
)
_FEATURE_SCALE = 50.0
PROFILES = 2
"""Profiles that a ground's features consist of: heights, clearance."""


@dataclass(frozen=True, eq=False)
class Ground:
    """One ground.

    Attributes:
        floor: polyline from left to right, shape (n, 2); two points at one x are a vertical wall.
        ceiling: polyline from left to right with the solid above it, shape (m, 2), or None; it begins and ends at
            SKY, and is up there wherever the sky is open.
        spawn: the part of the walker's bounding box that is put at x = 0.
    """

    floor: np.ndarray
    ceiling: np.ndarray | None = None
    spawn: Literal["left", "center", "right"] = "center"

    def segments(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all segments (s, 4) as x0, y0, x1, y1, and their kind (s,): 0 for floor, 1 for ceiling."""
        parts = [np.hstack([line[:-1], line[1:]]) for line in self._lines()]
        kinds = [np.full(len(part), kind, dtype=np.int64) for kind, part in enumerate(parts)]
        return np.concatenate(parts), np.concatenate(kinds)

    def floor_between(self, low: float, high: float) -> float:
        """Returns the greatest height of the floor between two x."""
        inside = self.floor[(self.floor[:, 0] >= low) & (self.floor[:, 0] <= high), 1]
        return float(max([_height_at(self.floor, low), _height_at(self.floor, high), *inside]))

    def ceiling_between(self, low: float, high: float) -> float:
        """Returns the least height of the ceiling between two x, infinity without one."""
        if self.ceiling is None:
            return float("inf")
        inside = self.ceiling[(self.ceiling[:, 0] > low) & (self.ceiling[:, 0] < high), 1]
        return float(min([_height_at(self.ceiling, low), _height_at(self.ceiling, high), *inside]))

    def features(self) -> np.ndarray:
        """Returns the profile a terrain embedding network reads, shape (36,), float32.

        The first 18 numbers are floor heights at fixed distances from the start (-160 ... 160 units), the last 18 the
        clearance under the ceiling there; both in units of 50 and clipped to [0, 2], so that open sky reads
        2.
        """
        heights = np.array([_height_at(self.floor, x) for x in _PROFILE])
        tops = np.array([self.ceiling_between(x, x) for x in _PROFILE])
        clearance = np.maximum(tops - heights, 0.0)
        return np.clip(np.concatenate([heights, clearance]) / _FEATURE_SCALE, 0.0, 2.0).astype(np.float32)

    def fingerprint(self) -> str:
        """Returns a hex digest of the geometry."""
        digest = hashlib.sha256(self.spawn.encode())
        for line in self._lines():
            digest.update(np.ascontiguousarray(line, dtype=np.float64).tobytes())
        return digest.hexdigest()

    def _lines(self) -> list[np.ndarray]:
        return [self.floor] if self.ceiling is None else [self.floor, self.ceiling]


def _height_at(line: np.ndarray, x: float) -> float:
    """Height of a polyline at x; infinity where it does not reach."""
    if x < line[0, 0] or x > line[-1, 0]:
        return float("inf")
    k = int(np.clip(np.searchsorted(line[:, 0], x, side="right") - 1, 0, len(line) - 2))
    (x0, y0), (x1, y1) = line[k], line[k + 1]
    return float(max(y0, y1)) if x1 <= x0 else float(y0 + (y1 - y0) * (x - x0) / (x1 - x0))


def _open_floor(left: float = -END, right: float = END) -> list[tuple[float, float]]:
    return [
        (-END, WALL_HEIGHT),
        (left, WALL_HEIGHT),
        (left, 0.0),
        (right, 0.0),
        (right, WALL_HEIGHT),
        (END, WALL_HEIGHT),
    ]


def _polyline(points: list[tuple[float, float]]) -> np.ndarray:
    """Points without repeats, as an array."""
    kept = [p for k, p in enumerate(points) if k == 0 or p != points[k - 1]]
    return np.array(kept, dtype=np.float64)


def flat() -> Ground:
    """An even floor."""
    return Ground(_polyline(_open_floor()))


def left_wall(distance: float = 10.0) -> Ground:
    """A wall `distance` to the left of the walker's left edge; open to the right."""
    return Ground(_polyline(_open_floor(left=-distance)), spawn="left")


def right_wall(distance: float = 10.0) -> Ground:
    """A wall `distance` to the right of the walker's right edge; open to the left."""
    return Ground(_polyline(_open_floor(right=distance)), spawn="right")


def tunnel(height: float = 20.0, mouth: float = 55.0) -> Ground:
    """A ceiling `height` above the floor on both sides, from `mouth` outwards; open sky over the start."""
    right = [(mouth, SKY), (mouth, height), (END, height), (END, SKY)]
    left = [(-x, y) for x, y in reversed(right)]
    return Ground(_polyline(_open_floor()), _polyline(left + right))


def bumpy(amplitude: float = 12.0, spacing: float = 40.0, seed: int = 0) -> Ground:
    """Boxes with vertical sides all over the floor, about `spacing` apart and `amplitude` high, drawn by the seed."""
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
    return Ground(_polyline([*points, (END, 0.0), (END, WALL_HEIGHT)]))


FAMILIES: dict[str, Callable[..., Ground]] = {f.__name__: f for f in (flat, left_wall, right_wall, bumpy, tunnel)}
"""Every family by its name; its keyword arguments are its parameters."""

RANGES: dict[str, tuple[float, float]] = {
    "distance": (0.5, 500.0),
    "height": (5.0, 300.0),
    "mouth": (10.0, 500.0),
    "amplitude": (0.0, 200.0),
    "spacing": (5.0, 400.0),
    "seed": (0, 2**31),
}
"""Least and greatest value of every parameter."""


def parse_name(name: str) -> tuple[str, dict[str, float]]:
    """Splits a terrain's name, such as ``bumpy(amplitude=4, seed=3)``, into family and parameters.

    Raises:
        ValueError: no such family or parameter (the nearest one is named), or a value out of its range.
    """
    match = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*(?:\(([^()]*)\))?\s*", name)
    if not match:
        raise ValueError(
            f"{name!r} is not a terrain: write a family, or a family with parameters as bumpy(amplitude=4, seed=3)"
        )
    family, arguments = match[1], match[2] or ""
    if family not in FAMILIES:
        raise ValueError(f"no terrain {family!r}{_nearest(family, FAMILIES)}; there are {', '.join(FAMILIES)}")
    known = _defaults(family)
    parameters: dict[str, float] = {}
    for argument in filter(None, (a.strip() for a in arguments.split(","))):
        key, _, text = (part.strip() for part in argument.partition("="))
        if key not in known:
            raise ValueError(
                f"{family} has no parameter {key!r}{_nearest(key, known)}; it has {', '.join(known) or 'none'}"
            )
        parameters[key] = _value(family, key, text, integer=isinstance(known[key], int))
    return family, parameters


def canonical_name(family: str, parameters: Mapping[str, float]) -> str:
    """Returns the one name of a terrain: parameters in the family's order, defaults left out."""
    known = _defaults(family)
    said = [f"{k}={_shortest(parameters[k])}" for k in known if k in parameters and parameters[k] != known[k]]
    return f"{family}({','.join(said)})" if said else family


def make_ground(family: str, parameters: Mapping[str, float] | None = None) -> Ground:
    """Builds a ground from what `parse_name` returned."""
    return FAMILIES[family](**(parameters or {}))


def _defaults(family: str) -> dict[str, float]:
    maker = FAMILIES[family]
    values = maker.__defaults__ or ()
    return dict(zip(maker.__code__.co_varnames[: len(values)], values, strict=True))


def _value(family: str, key: str, text: str, integer: bool) -> float:
    low, high = RANGES[key]
    try:
        value = int(text) if integer else float(text)
    except ValueError:
        raise ValueError(f"{family}: {key}={text!r} is not {'a whole number' if integer else 'a number'}") from None
    if not low <= value <= high:
        raise ValueError(f"{family}: {key}={text} is out of range, {low:g} to {high:g}")
    return value


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) else repr(value)


def _nearest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f": did you mean {close[0]!r}?" if close else ""
