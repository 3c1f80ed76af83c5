"""``terraprompt replay``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distributed.cli.options import World, WorldConfig, WorldRun
from distributed.config.unsupported import check_terrain_names


def replay(
    programs: Annotated[
        list[str],
        typer.Argument(
            metavar="PROGRAM...",
            help="Files with a program, - for standard input, or folders of runs, whose best programs are shown.",
        ),
    ],
    terrain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The terrain to walk on; can be given again.",
            show_default="flat; all of a world that is named; each program of a run on its own",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR|FILE",
            help="A folder for all three, or one file: .html is a page with a player, .gif or .apng moves, "
            ".png or .svg stands still.",
        ),
    ] = Path("replay"),
    seconds: Annotated[
        float | None,
        typer.Option(min=0.5, max=300, help="Simulated time.", show_default="20; that of the run for a run"),
    ] = None,
    world: World = None,
    config: WorldConfig = None,
    run: WorldRun = None,
) -> None:
    """Show walkers crossing terrains: a page with a player, a moving picture and a still one.

    A program that is no valid walker is an error that names the kind of failure. --world, --config or --run names the
    world of programs that are something else; of texts the page shows a table.
    """
    # Else the terrains may be those of another world.
    if not any((world, config, run, *(Path(each).is_dir() for each in programs))):
        check_terrain_names(terrain or (), "--terrain")
    from rich.console import Console

    from distributed.jobs.replay import replay as show
    from distributed.jobs.scoring_world import WorldChoice

    show(programs, terrain or (), out, seconds, Console(stderr=True), WorldChoice(world, config, run))
