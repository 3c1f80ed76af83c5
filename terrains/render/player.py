"""Scenes as compact data for the moving player of a page."""

from __future__ import annotations

from typing import Any

import numpy as np

from terrains.scene import Scene


def player_data(scene: Scene) -> dict[str, Any]:
    """What the HTML player needs, as plain data of one decimal: a tenth of a world unit is finer than a pixel.

    Args:
        scene: what is played; frames from the first that is not finite on are left out.

    Returns:
        ``frames``: per frame, x and y of every point in a row; ``muscles``: per line, both points and 1 for a rod;
        ``floor`` and ``ceiling`` (or None): lists of points; ``radius`` and ``dt``.

    Raises:
        ValueError: the scene's points have another shape, or not one finite frame.
    """
    points = scene.finite_points()
    return {
        "frames": _rounded(points.reshape(len(points), -1)),
        "muscles": np.column_stack([scene.pairs, scene.is_rod]).tolist(),
        "floor": None if scene.floor is None else _rounded(visible(scene.floor, points)),
        "ceiling": None if scene.ceiling is None else _rounded(np.asarray(scene.ceiling)),
        "radius": scene.radius,
        "dt": scene.seconds_per_frame,
    }


def visible(floor: np.ndarray, points: np.ndarray, margin: float = 400.0) -> np.ndarray:
    """The part of the floor within a few screens of where the points went, with one point to spare at either end."""
    floor = np.asarray(floor, dtype=np.float64)
    inside = np.flatnonzero(
        (floor[:, 0] >= points[..., 0].min() - margin) & (floor[:, 0] <= points[..., 0].max() + margin)
    )
    if not len(inside):
        # The points stayed between two far ones of the floor: keep everything, such a floor is short.
        return floor
    return floor[max(inside[0] - 1, 0) : inside[-1] + 2]


def _rounded(values: np.ndarray) -> list[list[float]]:
    """One decimal, as nested lists, without the minus sign of -0.0."""
    return (np.round(np.asarray(values, dtype=np.float64), 1) + 0.0).tolist()
