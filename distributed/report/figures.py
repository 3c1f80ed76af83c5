"""Still pictures of walkers: a grid for those of a run, a column for any others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distributed.infra.numbers import fitness_text
from distributed.report.shows import Show
from terrains.render.still import draw_scene


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
    shows = [show for show in shows if show.moving]
    if not shows:
        raise ValueError("there is no walker to draw")
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
    shows = [show for show in shows if show.moving]
    if not shows:
        raise ValueError("there is no walker to draw")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4 * len(shows)), layout="constrained")
    for show, axes in zip(shows, figure.subplots(len(shows), squeeze=False).flat, strict=True):
        assert show.scene is not None
        title = f"{show.title} on {show.terrain}: {fitness_text(show.fitness)}{unit}"
        draw_scene(show.scene, title=title, axes=axes)
    figure.savefig(path, dpi=120)
    return path
