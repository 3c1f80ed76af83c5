"""What a program did, to be looked at: points that move, lines between them, and the ground they move on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Scene:
    """A recording of moving points, seen from the side. Lengths are in the world's own units.

    Attributes:
        points: where each point is in each frame, shape (f, n, 2), x to the right and y upwards. Frames from the first
            that is not finite on are not shown.
        lines: pairs of points with a line between them, shape (m, 2), indices.
        rods: which of the lines never change their length, shape (m,), bool; None for none.
        floor: polyline from left to right with the solid below it, shape (k, 2), or None.
        ceiling: polyline from left to right with the solid above it, shape (k, 2), or None.
        seconds_per_frame: time between two frames.
        radius: of each point.
    """

    points: np.ndarray
    lines: np.ndarray
    rods: np.ndarray | None = None
    floor: np.ndarray | None = None
    ceiling: np.ndarray | None = None
    seconds_per_frame: float = 2 / 60
    radius: float = 1.0

    @property
    def seconds(self) -> float:
        """How long the recording lasts, frames that are not finite included."""
        return len(self.points) * self.seconds_per_frame

    @property
    def pairs(self) -> np.ndarray:
        """The lines as whole numbers, shape (m, 2), also where there are none."""
        return np.asarray(self.lines, dtype=np.int64).reshape(-1, 2)

    @property
    def is_rod(self) -> np.ndarray:
        """Which of the lines are rods, shape (m,), bool."""
        return np.zeros(len(self.pairs), dtype=bool) if self.rods is None else np.asarray(self.rods, dtype=bool)

    def finite_points(self) -> np.ndarray:
        """Returns the frames before the first one that holds a number that is not finite, shape (f, n, 2), float64.

        Raises:
            ValueError: the points have another shape, or there is no such frame.
        """
        points = np.asarray(self.points, dtype=np.float64)
        if points.ndim != 3 or points.shape[2] != 2 or not points.shape[1]:
            raise ValueError(f"points must be (frames, points, 2), got {points.shape}")
        good = np.isfinite(points).all(axis=(1, 2))
        points = points if good.all() else points[: int(np.argmin(good))]
        if not len(points):
            raise ValueError("no finite frame to show: the simulation blew up at its first step")
        return points
