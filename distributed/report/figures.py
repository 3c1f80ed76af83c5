"""Still pictures of walkers: those of a run by kind, many that are unlike one another, a column of any others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distributed.infra.numbers import fitness_text
from distributed.report.shows import Show
from terrains.render.still import draw_scene, view_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
"""Walkers in a row of `draw_different`."""

WIDTH = 4.6
"""Of each of these, in inches."""


def draw_run(shows: Sequence[Show], path: Path, unit: str = "") -> Path:
    """Draws walkers crossing, one row a terrain, one column a kind of walker.

    Args:
        shows: walkers with their frames; their order decides the order of rows and columns.
        path: picture to write.
        unit: of the fitness, as `terrains.optional.fitness_unit` returns it.

    Returns:
        The path.

    Raises:
        ValueError: there is no walker to draw.
    """
    shows = _moving(shows)
    # Imported here: a run needs matplotlib only at its end.
    from matplotlib.figure import Figure

    terrains = list(dict.fromkeys(show.terrain for show in shows))
    kinds = list(dict.fromkeys(show.title for show in shows))
    figure = Figure(figsize=(5.2 * len(kinds), 2.4 * len(terrains)), layout="constrained")
    grid = figure.subplots(len(terrains), len(kinds), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for show in shows:
        axes = grid[terrains.index(show.terrain), kinds.index(show.title)]
        axes.set_axis_on()
        assert show.scene is not None
        title = f"{show.terrain}, {show.title}: {show.fitness:.0f}{unit}"
        draw_scene(show.scene, title=title, axes=axes)
    figure.savefig(path, dpi=90)
    return path


def draw_stack(shows: Sequence[Show], path: Path, unit: str = "") -> Path:
    """Draws walkers one above another, each at several moments and with the path of its centre of mass.

    Args:
        shows: walkers with their frames.
        path: picture to write; its ending picks the format.
        unit: of the fitness, as `terrains.optional.fitness_unit` returns it.

    Returns:
        The path.

    Raises:
        ValueError: there is no walker to draw.
    """
    shows = _moving(shows)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4 * len(shows)), layout="constrained")
    for show, axes in zip(shows, figure.subplots(len(shows), squeeze=False).flat, strict=True):
        assert show.scene is not None
        title = f"{show.title} on {show.terrain}: {fitness_text(show.fitness)}{unit}"
        draw_scene(show.scene, title=title, axes=axes)
    figure.savefig(path, dpi=120)
    return path


def draw_different(shows: Sequence[Show], path: Path, unit: str = "", heads: Mapping[str, str] | None = None) -> Path:
    """Writes what `different` draws, and returns the path; its ending picks the format.

    Raises:
        ValueError: there is no walker to draw.
    """
    different(shows, unit, heads).savefig(path, dpi=90)
    return path


def different(shows: Sequence[Show], unit: str = "", heads: Mapping[str, str] | None = None) -> Figure:
    """Draws walkers that are unlike one another, four a row, those of a terrain on one scale, fitness under each.

    Args:
        shows: walkers with their frames, in the order in which they are drawn; titles stand above each.
        unit: of the fitness, as `terrains.optional.fitness_unit` returns it.
        heads: what is said above all walkers of a terrain, by its name; the name alone where left out.

    Raises:
        ValueError: there is no walker to draw.
    """
    shows = _moving(shows)
    from matplotlib.figure import Figure

    terrains = list(dict.fromkeys(show.terrain for show in shows))
    own = [[show for show in shows if show.terrain == name] for name in terrains]
    views = [view_of(*(show.scene for show in each if show.scene)) for each in own]
    columns = min(COLUMNS, max(map(len, own)))
    rows = [-(-len(each) // columns) for each in own]
    heights = [
        0.5 + n * (0.8 + WIDTH * (top - bottom) / (right - left))
        for n, (left, bottom, right, top) in zip(rows, views, strict=True)
    ]
    figure = Figure(figsize=(max(WIDTH * columns, 7), sum(heights)), layout="constrained")
    parts = figure.subfigures(len(terrains), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, name, each, view, n in zip(parts, terrains, own, views, rows, strict=True):
        part.suptitle((heads or {}).get(name, name), parse_math=False)
        grid = list(part.subplots(n, columns, squeeze=False).flat)
        for axes in grid[len(each) :]:
            axes.set_axis_off()
        for show, axes in zip(each, grid, strict=False):
            assert show.scene is not None
            draw_scene(show.scene, axes=axes, view=view)
            axes.set_title(show.title, fontsize="small", parse_math=False)
            axes.set_xlabel(f"{fitness_text(show.fitness)}{unit}", fontweight="bold", parse_math=False)
            axes.tick_params(labelsize="small")
    return figure


def _moving(shows: Sequence[Show]) -> list[Show]:
    """Those with frames; without any, there is nothing to draw."""
    moving = [show for show in shows if show.moving]
    if not moving:
        raise ValueError("there is no walker to draw")
    return moving
