"""Scenes as still pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from terrains.render.player import visible
from terrains.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes

View = tuple[float, float, float, float]
"""A part of the world: its left, lower, right and upper end."""


def draw_scene(
    scene: Scene,
    path: str | Path | None = None,
    at: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    title: str = "",
    axes: Axes | None = None,
    view: View | None = None,
) -> Axes:
    """Draws a scene at several moments, earlier moments paler, and the path of the points' centre.

    Args:
        scene: what is drawn.
        path: picture to write (its ending picks the format), or None to write nothing.
        at: moments to draw, as shares of the recording in [0, 1].
        title: heading of the picture.
        axes: where to draw; by default a new figure that no window shows.
        view: what part of the world is shown; by default `view_of` this scene.

    Returns:
        The axes that were drawn on.

    Raises:
        ValueError: the scene's points have another shape or no finite frame, or the axes to be written were taken off
            their figure.
    """
    # Imported here: scoring programs needs no plotting library.
    from matplotlib.collections import EllipseCollection, LineCollection
    from matplotlib.figure import Figure

    frames, lines = scene.finite_points(), scene.pairs
    if axes is None:
        axes = Figure(figsize=(10, 4), layout="constrained").add_subplot()
    left, bottom, right, top = view or view_of(scene)
    _fill_ground(axes, scene, left, right, bottom - 12)
    centre = frames.mean(axis=1)
    axes.plot(centre[:, 0], centre[:, 1], color="white", linewidth=3.0, alpha=0.8, zorder=4)
    axes.plot(centre[:, 0], centre[:, 1], color="#2a78d6", linewidth=1.3, zorder=4)
    for order, share in enumerate(at):
        pose = frames[round(share * (len(frames) - 1))]
        alpha = 0.25 + 0.75 * (order + 1) / len(at)
        axes.add_collection(LineCollection(list(pose[lines]), colors="#d95926", linewidths=1.2, alpha=alpha, zorder=2))
        size = np.full(len(pose), 2 * scene.radius)
        nodes = EllipseCollection(
            size,
            size,
            0,
            units="xy",
            offsets=pose,
            offset_transform=axes.transData,
            facecolors="#23272e",
            alpha=alpha,
            zorder=3,
        )
        axes.add_collection(nodes)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xlabel="distance (world units)")
    axes.set_title(title, parse_math=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_yticks([])
    if path is not None:
        figure = axes.get_figure(root=True)
        if figure is None:
            raise ValueError("these axes belong to no figure, so there is no picture to write")
        figure.savefig(path, dpi=150)
    return axes


def view_of(*scenes: Scene) -> View:
    """Returns what part of the world holds all that happens in some scenes, and what is around it.

    Raises:
        ValueError: a scene's points have another shape or no finite frame, or there is no scene.
    """
    views = np.array([_view(scene) for scene in scenes])
    (left, bottom), (right, top) = views[:, :2].min(axis=0).tolist(), views[:, 2:].max(axis=0).tolist()
    return left, bottom, right, top


def _view(scene: Scene) -> View:
    frames = scene.finite_points()
    (left, bottom), (right, top) = frames.min(axis=(0, 1)) - 12, frames.max(axis=(0, 1)) + 12
    if scene.floor is not None:
        bottom = min(bottom, float(visible(scene.floor, frames, margin=12)[:, 1].min()) - 4)
    # A scene whose points stay where they are gets its surroundings, not a narrow picture.
    spare = max(0.0, 2.4 * (top - bottom) - (right - left)) / 2
    return left - spare, bottom, right + spare, top


def _fill_ground(axes: Axes, scene: Scene, left: float, right: float, depth: float) -> None:
    """Fills the floor downwards and the ceiling upwards, the floor's ends carried on beyond the picture."""
    if scene.floor is not None:
        floor = np.asarray(scene.floor, dtype=np.float64)
        ends = np.array([[min(left, floor[0, 0]), depth], [min(left, floor[0, 0]), floor[0, 1]]])
        close = np.array([[max(right, floor[-1, 0]), floor[-1, 1]], [max(right, floor[-1, 0]), depth]])
        outline = np.concatenate([ends, floor, close])
        axes.fill(outline[:, 0], outline[:, 1], facecolor="#dfe3e8", edgecolor="#5b6570", linewidth=1.0, zorder=0)
    if scene.ceiling is not None:
        ceiling = np.asarray(scene.ceiling, dtype=np.float64)
        axes.fill(ceiling[:, 0], ceiling[:, 1], facecolor="#dfe3e8", edgecolor="#5b6570", linewidth=1.0, zorder=0)
