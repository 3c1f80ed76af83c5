"""``terraprompt write``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distributed.cli.options import World, WorldConfig, WorldRun
from distributed.config.section import LARGEST_SEED

MOST = 1000
"""Programs that are written at most."""


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
    count: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST,
            help="How many programs. More than one are valid and unlike one another: what the seeds from --seed on "
            "write, without repeats, until 16 times as many were drawn. A terrain's several prompts take turns.",
        ),
    ] = 1,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=low|middle|high|NUMBER,...",
            help="Kind of program that is wanted, such as height=low,width=high: of a run whose network has learnt "
            "several kinds a terrain. What is not named is as in the nearest of these.",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="PNG of the walker, or of all of them.", show_default="NAME-seedSEED[-countCOUNT].png"
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a list of seed, program, fitness and failure instead of the text.")
    ] = False,
    world: World = None,
    config: WorldConfig = None,
    run: WorldRun = None,
) -> None:
    """Write a walker's program behind a prompt, or --count different ones, print it, score it and draw it.

    Programs go to standard output; what they score and where the picture lies, to standard error. A registered
    model is scored by the world that it brings along, or by that of --world, --config or --run.
    """
    from rich.console import Console

    from distributed.jobs.drawn_programs import as_json as listed
    from distributed.jobs.drawn_programs import as_text
    from distributed.jobs.scoring_world import WorldChoice
    from distributed.jobs.write import write as written

    choice = WorldChoice(world, config, run)
    drawn = written(terrain, source, seed, picture, Console(stderr=True), choice, count, kind)
    typer.echo(listed(drawn) if as_json else as_text(drawn))
