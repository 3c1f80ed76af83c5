"""``terraprompt export``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run or search, such as runs/NAME.")],
    terrain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Register only this terrain's prompt; can be given again.", show_default="all"
        ),
    ] = None,
    best_only: Annotated[
        bool, typer.Option("--best-only", help="Register only prompts that become or are their terrain's champion.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be registered, and write nothing.")
    ] = False,
) -> None:
    """Register a run's prompts in MLflow, one model softprompt.TERRAIN for each terrain.

    The alias champion moves where a prompt's evaluation is better than the present champion's.
    """
    from rich.console import Console

    from distributed.jobs.export import export_run

    export_run(run, terrain or (), best_only, dry_run, Console())
