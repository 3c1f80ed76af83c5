"""``terraprompt config``: its commands and their options. None of them needs a network or a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distributed.cli.options import Overrides
from distributed.errors import EXIT_CODE
from distributed.jobs.config import check as checking
from distributed.jobs.config import convert as converting
from distributed.jobs.config import show as showing
from distributed.jobs.config.opened import opened

app = typer.Typer(
    help="Files of settings, trlx's too: what is in effect, what is wrong, and how they are written here.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="YAML of a run or a search, of trlx's today or in 2022, or a sweep of trlx's; or a run's directory.",
    ),
]
Sweep = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A sweep of trlx's, for runs that have the settings of FILE.")
]


@app.command()
def show(
    file: File,
    overrides: Overrides = None,
    sweep: Sweep = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
) -> None:
    """Print all settings in effect as YAML, each with where it comes from: the file, the command line or the default.

    What is printed loads as it is.
    """
    found = opened(file, sweep, overrides or ())
    typer.echo(showing.as_json(found) if as_json else showing.as_text(found), nl=False)


@app.command()
def check(file: File, overrides: Overrides = None, sweep: Sweep = None) -> None:
    """Name all problems of a file at once, and what it says to no effect; exits with 0 where it can be trained with.

    The language model and the data that it names are not opened.
    """
    found = checking.findings(file, sweep, overrides or ())
    typer.echo(checking.as_text(file, found))
    raise typer.Exit(EXIT_CODE if found.problems else 0)


@app.command()
def convert(
    file: File,
    sweep: Sweep = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; it must not be there yet.", show_default="print")
    ] = None,
) -> None:
    """Write a file of trlx's in this project's format: what it says and nothing else.

    What cannot be kept is left out and listed with the reason.
    """
    text, dropped = converting.converted(opened(file, sweep))
    if out is None:
        typer.echo(text, nl=False)
        return
    converting.write(text, out)
    typer.echo("\n".join([f"wrote {out}", *(f"  dropped: {each}" for each in dropped)]))
