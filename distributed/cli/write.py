"""``terraprompt write``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distributed.cli.options import World, WorldConfig, WorldRun
from distributed.config.section import LARGEST_SEED


def write(
    terrain: Annotated[str, typer.Option(metavar="NAME", help="The terrain to write a walker for.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN|MODEL",
            help="Folder of a run, or the address of a registered model, models:/softprompt.NAME@champion.",
            show_default="the terrain's champion in MLflow",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Another seed writes another program.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG of the walker.", show_default="NAME-seedSEED.png")
    ] = None,
    world: World = None,
    config: WorldConfig = None,
    run: WorldRun = None,
) -> None:
    """Write a walker's program behind a prompt, print it, score it and draw it.

    The program goes to standard output; what it scores and where the picture lies, to standard error. A registered
    model is scored by the world that it brings along, or by that of --world, --config or --run.
    """
    from rich.console import Console

    from distributed.jobs.scoring_world import WorldChoice
    from distributed.jobs.write import write as written

    typer.echo(written(terrain, source, seed, picture, Console(stderr=True), WorldChoice(world, config, run)))
