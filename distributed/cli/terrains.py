"""``terraprompt terrains``: its commands and their options. Each imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distributed.config.unsupported import check_terrain_names

app = typer.Typer(
    help="Families of terrains: what there is, how a terrain looks, and terrains of a difficulty.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Picture = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Picture to draw the terrains to, .png, .svg or .pdf."),
]


@app.command(name="list")
def list_families(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the families of terrains and their parameters."""
    from rich.console import Console

    from distributed.jobs.terrains import families_as_json, print_families

    if as_json:
        typer.echo(families_as_json())
    else:
        print_families(Console())


@app.command()
def show(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Terrains, such as tunnel, 'hills(amplitude=20)' or 'tunnel+bumpy(seed=3)'."
        ),
    ],
    out: Picture = None,
) -> None:
    """Show terrains: their names, their features, and how they look from the side.

    They are drawn on the terminal, or to a picture with --out.
    """
    check_terrain_names(names, "")
    from rich.console import Console

    from distributed.jobs.terrains import show_terrains

    show_terrains(names, out, Console())


@app.command()
def sample(
    families: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Families that take turns, such as tunnel or tunnel+bumpy; can be given again.",
            show_default="all that have something to draw",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many terrains.")] = 8,
    difficulty: Annotated[
        str, typer.Option(metavar="D|LOW-HIGH", help="From 0 to 1: one difficulty, or from where to where.")
    ] = "0-1",
    split: Annotated[str, typer.Option(help="train or held_out; they share no seed and no drawn parameter.")] = "train",
    seed: Annotated[int, typer.Option(help="Another seed draws other terrains.")] = 0,
    out: Picture = None,
) -> None:
    """Draw terrains of a difficulty, and print their names, one a line.

    The settings terrains.sample.* make a run train on terrains drawn in the same way.
    """
    check_terrain_names(families or (), "")
    from distributed.jobs.terrains import sample_names, write_picture

    chosen = sample_names(families or (), count, difficulty, split, seed)
    if out is not None:
        write_picture(chosen, out)
    for name in chosen:
        typer.echo(name)
