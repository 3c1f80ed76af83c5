"""Grounds: a floor, a ceiling, where a walker starts, and the features that a terrain embedding network reads.

Lengths are world units; one unit of a program is 6.8 of them, so that a walker is some 30 to 70 units wide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

END = 1000.0
"""The world ends in walls this far from the origin on both sides."""

WALL_HEIGHT = 400.0
"""Height of every wall: no walker climbs it."""

SKY = 3 * WALL_HEIGHT
"""Height of a ceiling where there is none: no walker is ever there."""

PLACES = np.array(
    [-160, -120, -90, -70, -55, -42, -30, -20, -10, 10, 20, 30, 42, 55, 70, 90, 120, 160], dtype=np.float64
)
"""Where a ground's features look: distances from the start along x, closer together where a walker begins."""

PROFILES = 3
"""Profiles that a ground's features consist of: heights, clearance, slopes."""

_FEATURE_SCALE = 50.0
_MOST = 2.0


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
        return float(max([height_at(self.floor, low), height_at(self.floor, high), *inside]))

    def ceiling_between(self, low: float, high: float) -> float:
        """Returns the least height of the ceiling between two x, infinity without one."""
        if self.ceiling is None:
            return float("inf")
        inside = self.ceiling[(self.ceiling[:, 0] > low) & (self.ceiling[:, 0] < high), 1]
        return float(min([height_at(self.ceiling, low), height_at(self.ceiling, high), *inside]))

    def features(self) -> np.ndarray:
        """Returns what a terrain embedding network reads: three profiles of the ground, each at the 18 `PLACES`.

        ======  =========  ===================================================  ===========  ==============
        index   profile    meaning                                              unit         clipped to
        ======  =========  ===================================================  ===========  ==============
        0-17    heights    the floor's height, below 0 in a ditch               50 units     [-2, 2]
        18-35   clearance  from the floor up to the ceiling; open sky reads 2   50 units     [0, 2]
        36-53   slopes     the floor's mean rise to the right, from halfway to  1 (rise by   [-2, 2]
                           the place before to halfway to the next one          run)
        ======  =========  ===================================================  ===========  ==============

        Returns:
            Shape (54,), float32. On even ground every height and every slope is 0.
        """
        heights = np.array([height_at(self.floor, x) for x in PLACES])
        tops = np.array([self.ceiling_between(x, x) for x in PLACES])
        clearance = np.maximum(tops - heights, 0.0) / _FEATURE_SCALE
        middles = (PLACES[:-1] + PLACES[1:]) / 2
        edges = np.concatenate([[2 * PLACES[0] - middles[0]], middles, [2 * PLACES[-1] - middles[-1]]])
        slopes = np.diff([height_at(self.floor, x) for x in edges]) / np.diff(edges)
        profiles = [
            np.clip(heights / _FEATURE_SCALE, -_MOST, _MOST),
            np.clip(clearance, 0.0, _MOST),
            np.clip(slopes, -_MOST, _MOST),
        ]
        return np.concatenate(profiles).astype(np.float32)

    def fingerprint(self) -> str:
        """Returns a hex digest of the geometry."""
        digest = hashlib.sha256(self.spawn.encode())
        for line in self._lines():
            digest.update(np.ascontiguousarray(line, dtype=np.float64).tobytes())
        return digest.hexdigest()

    def _lines(self) -> list[np.ndarray]:
        return [self.floor] if self.ceiling is None else [self.floor, self.ceiling]


def height_at(line: np.ndarray, x: float) -> float:
    """Height of a polyline at x; infinity where it does not reach."""
    if x < line[0, 0] or x > line[-1, 0]:
        return float("inf")
    k = int(np.clip(np.searchsorted(line[:, 0], x, side="right") - 1, 0, len(line) - 2))
    (x0, y0), (x1, y1) = line[k], line[k + 1]
    return float(max(y0, y1)) if x1 <= x0 else float(y0 + (y1 - y0) * (x - x0) / (x1 - x0))


def polyline(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Returns points as an array (n, 2), float64, without a point that repeats the one before it."""
    kept = [p for k, p in enumerate(points) if k == 0 or p != points[k - 1]]
    return np.array(kept, dtype=np.float64)


def limits(line: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns heights of a polyline just left and just right of each x, which differ at a vertical wall."""
    before = np.interp(x, line[:, 0], line[:, 1])
    after = before.copy()
    first, last = np.searchsorted(line[:, 0], x, side="left"), np.searchsorted(line[:, 0], x, side="right")
    met = last > first
    before[met], after[met] = line[first[met], 1], line[last[met] - 1, 1]
    return before, after
