"""Looking at grounds from the side: on a terminal, and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from terrains.sodarace.ground.geometry import WALL_HEIGHT, Ground

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REACH = 260.0
"""How far from the start a drawing goes on both sides, units."""

_LEAST, _MOST, _DEEPEST = 40.0, 110.0, -75.0
"""Heights that a drawing reaches up to at the least and at the most, and the depth that it goes down to."""

_START, _BODY = "start", (40.0, 16.0)
"""The box of a middling walker that a picture shows at the start, units."""


def text_sketch(ground: Ground, columns: int = 100) -> str:
    """Draws a ground with blocks of text, equally scaled in both directions; V is where a walker starts.

    Args:
        ground: what to draw.
        columns: width of the drawing, in characters.
    """
    unit = 2 * REACH / columns
    low, high = _heights(ground)
    # A character is twice as high as wide: each shows two cells, one above the other.
    rows = 2 * int(np.ceil((high - low) / unit / 2))
    y = low + unit * (np.arange(rows)[::-1] + 0.5)
    x = -REACH + unit * (np.arange(columns) + 0.5)
    floor = np.array([ground.floor_between(each, each) for each in x])
    top = np.array([ground.ceiling_between(each, each) for each in x])
    solid = (y[:, None] < floor) | (y[:, None] > top)
    blocks = np.array([[" ", "▄"], ["▀", "█"]])[solid[::2].astype(int), solid[1::2].astype(int)]
    start = {"left": columns // 2, "center": columns // 2, "right": columns // 2 - 1}[ground.spawn]
    open_rows = np.flatnonzero(blocks[:, start] == " ")
    if len(open_rows):
        blocks[open_rows[-1], start] = "V"
    return "\n".join("".join(row).rstrip() for row in blocks)


def draw_grounds(grounds: dict[str, Ground], path: str | Path | None = None) -> Figure:
    """Draws grounds one under another, each under its name, equally scaled.

    Args:
        grounds: by name.
        path: picture to write (its ending picks the format), or None to write nothing.
    """
    # Imported here: scoring programs needs this package but no plotting library.
    from matplotlib.figure import Figure

    width, margin, title = 10.0, 0.15, 0.3
    scale = (width - 2 * margin) / (2 * REACH)
    tall = [(high - low) * scale for low, high in map(_heights, grounds.values())]
    total = sum(tall) + (title + margin) * len(tall) + 0.35
    figure = Figure(figsize=(width, total))
    top = total
    for k, ((name, ground), high) in enumerate(zip(grounds.items(), tall, strict=True)):
        top -= title + high
        where = (margin / width, top / total, 1 - 2 * margin / width, high / total)
        _draw(figure.add_axes(where), name, ground, last=k == len(grounds) - 1)
        top -= margin
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def _heights(ground: Ground) -> tuple[float, float]:
    """From where to where a drawing of this ground goes: its floor, what a walker needs, and the ceilings' edges."""
    x = np.linspace(-REACH, REACH, 521)
    floor = np.array([ground.floor_between(a, a) for a in x])
    tops = np.array([ground.ceiling_between(a, a) for a in x])
    edges = [0.0, *floor[floor < WALL_HEIGHT], *(tops[tops < WALL_HEIGHT] + 10.0)]
    return max(float(floor.min()), _DEEPEST) - 8.0, float(np.clip(max(edges) + 12.0, _LEAST, _MOST))


def _draw(axes: Axes, name: str, ground: Ground, last: bool) -> None:
    """One panel."""
    from matplotlib.patches import FancyBboxPatch

    low, high = _heights(ground)
    colours: dict[str, Any] = {"facecolor": "#d9dee4", "edgecolor": "#4c5661", "linewidth": 1.0, "zorder": 1}
    for line, beyond in ((ground.floor, low - 50), (ground.ceiling, high + 50)):
        if line is not None:
            ends = [[line[-1, 0], beyond], [line[0, 0], beyond]]
            outline = np.concatenate([line, ends])
            axes.fill(outline[:, 0], np.clip(outline[:, 1], low - 50, high + 50), **colours)
    wide, tall = _BODY
    left = {"left": 0.0, "center": -wide / 2, "right": -wide}[ground.spawn]
    bottom = ground.floor_between(left, left + wide) + 1.0
    body = FancyBboxPatch(
        (left + 2, bottom + 2), wide - 4, tall - 4, boxstyle="round,pad=2", facecolor="#f3c9b6", edgecolor="#d95926"
    )
    axes.add_patch(body)
    axes.text(left + wide / 2, bottom + tall / 2 - 0.5, _START, ha="center", va="center", fontsize=7, color="#8f3410")
    axes.set(xlim=(-REACH, REACH), ylim=(low, high), yticks=[])
    axes.set_title(name, loc="left", fontsize=10, pad=4, parse_math=False)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_xticks(np.arange(-250, 251, 50) if last else [])
    axes.tick_params(labelsize=8, length=2, colors="#4c5661")
