"""Looking at a walker: still pictures, and compact data for the moving player of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from terrains.sodarace.physics import NODE_RADIUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from terrains.sodarace.ground.geometry import Ground


def player_data(
    frames: np.ndarray,
    muscles: np.ndarray,
    ground: Ground,
    rigid: np.ndarray | None = None,
    seconds_per_frame: float = 2 / 60,
) -> dict[str, Any]:
    """What the HTML player needs, as plain data of one decimal: a tenth of a world unit is finer than a pixel.

    Args:
        frames: (f, n, 2) joint positions in world units. Frames from the first that is not finite on are left out.
        muscles: (m, 2) joint indices.
        ground: what the walker walked on.
        rigid: (m,) bool, the muscles that do not swing; None means none of them is rigid.
        seconds_per_frame: simulated time between two frames.

    Returns:
        ``frames``: per frame, x and y of every joint in a row; ``muscles``: per muscle, both joints and 1 if rigid;
        ``floor`` and ``ceiling`` (or None): lists of points; ``radius`` and ``dt``.

    Raises:
        ValueError: frames has another shape, or not one finite frame.
    """
    frames = finite_frames(frames)
    muscles = np.asarray(muscles, dtype=np.int64).reshape(-1, 2)
    rigid = np.zeros(len(muscles), dtype=bool) if rigid is None else np.asarray(rigid, dtype=bool)
    return {
        "frames": _rounded(frames.reshape(len(frames), -1)),
        "muscles": np.column_stack([muscles, rigid]).tolist(),
        "floor": _rounded(_visible(ground.floor, frames)),
        "ceiling": None if ground.ceiling is None else _rounded(np.asarray(ground.ceiling)),
        "radius": NODE_RADIUS,
        "dt": seconds_per_frame,
    }


def draw_walker(
    frames: np.ndarray,
    muscles: np.ndarray,
    ground: Ground,
    path: str | Path | None = None,
    at: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    title: str = "",
    axes: Axes | None = None,
) -> Axes:
    """Draws a walker at several moments on its ground, earlier moments paler, and the path of its centre of mass.

    Args:
        frames: (f, n, 2) joint positions in world units.
        muscles: (m, 2) joint indices.
        ground: what the walker walked on.
        path: picture to write (its ending picks the format), or None to write nothing.
        at: moments to draw, as shares of the recording in [0, 1].
        title: heading of the picture.
        axes: where to draw; by default a new figure that no window shows.

    Returns:
        The axes that were drawn on.

    Raises:
        ValueError: frames has another shape or no finite frame, or the axes to be written were taken off their figure.
    """
    # Imported here: scoring programs needs this package but no plotting library.
    from matplotlib.collections import EllipseCollection, LineCollection
    from matplotlib.figure import Figure

    frames = finite_frames(frames)
    if axes is None:
        axes = Figure(figsize=(10, 4), layout="constrained").add_subplot()
    (left, bottom), (right, top) = frames.min(axis=(0, 1)) - 12, frames.max(axis=(0, 1)) + 12
    floor = _visible(ground.floor, frames, margin=12)
    bottom = min(bottom, float(floor[:, 1].min()) - 4)
    # A walker that stays where it is gets its surroundings, not a narrow picture.
    spare = max(0.0, 2.4 * (top - bottom) - (right - left)) / 2
    left, right = left - spare, right + spare
    _fill_ground(axes, ground, left, right, bottom - 12)
    centre = frames.mean(axis=1)
    axes.plot(centre[:, 0], centre[:, 1], color="white", linewidth=3.0, alpha=0.8, zorder=4)
    axes.plot(centre[:, 0], centre[:, 1], color="#2a78d6", linewidth=1.3, zorder=4)
    for order, share in enumerate(at):
        pose = frames[round(share * (len(frames) - 1))]
        alpha = 0.25 + 0.75 * (order + 1) / len(at)
        segments = list(pose[np.asarray(muscles, dtype=np.int64).reshape(-1, 2)])
        axes.add_collection(LineCollection(segments, colors="#d95926", linewidths=1.2, alpha=alpha, zorder=2))
        size = np.full(len(pose), 2 * NODE_RADIUS)
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


def finite_frames(frames: np.ndarray) -> np.ndarray:
    """The frames before the first one that holds a number that is not finite."""
    frames = np.asarray(frames, dtype=np.float64)
    if frames.ndim != 3 or frames.shape[2] != 2 or not frames.shape[1]:
        raise ValueError(f"frames must be (frames, joints, 2), got {frames.shape}")
    good = np.isfinite(frames).all(axis=(1, 2))
    frames = frames if good.all() else frames[: int(np.argmin(good))]
    if not len(frames):
        raise ValueError("no finite frame to show: the simulation blew up at its first step")
    return frames


def _rounded(values: np.ndarray) -> list[list[float]]:
    """One decimal, as nested lists, without the minus sign of -0.0."""
    return (np.round(np.asarray(values, dtype=np.float64), 1) + 0.0).tolist()


def _visible(floor: np.ndarray, frames: np.ndarray, margin: float = 400.0) -> np.ndarray:
    """The part of the floor within a few screens of where the walker went, with one point to spare at either end."""
    floor = np.asarray(floor, dtype=np.float64)
    inside = np.flatnonzero(
        (floor[:, 0] >= frames[..., 0].min() - margin) & (floor[:, 0] <= frames[..., 0].max() + margin)
    )
    if not len(inside):
        # The walker stayed between two far points of the floor: keep everything, such a floor is short.
        return floor
    return floor[max(inside[0] - 1, 0) : inside[-1] + 2]


def _fill_ground(axes: Axes, ground: Ground, left: float, right: float, depth: float) -> None:
    """Fills the floor downwards and the ceiling upwards, the floor's ends carried on beyond the picture."""
    floor = np.asarray(ground.floor, dtype=np.float64)
    ends = np.array([[min(left, floor[0, 0]), depth], [min(left, floor[0, 0]), floor[0, 1]]])
    close = np.array([[max(right, floor[-1, 0]), floor[-1, 1]], [max(right, floor[-1, 0]), depth]])
    outline = np.concatenate([ends, floor, close])
    axes.fill(outline[:, 0], outline[:, 1], facecolor="#dfe3e8", edgecolor="#5b6570", linewidth=1.0, zorder=0)
    if ground.ceiling is not None:
        ceiling = np.asarray(ground.ceiling, dtype=np.float64)
        axes.fill(ceiling[:, 0], ceiling[:, 1], facecolor="#dfe3e8", edgecolor="#5b6570", linewidth=1.0, zorder=0)
