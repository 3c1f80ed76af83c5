"""``terraprompt track``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def track(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or search, such as runs/NAME.")],
    uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Another store of MLflow.", show_default="the one of the run"),
    ] = None,
) -> None:
    """Send to MLflow what a run could not record, because the store did not answer.

    A run keeps that in untracked.jsonl in its folder. Resuming the run sends it too.
    """
    from rich.console import Console

    from distributed.jobs.track import send_untracked

    send_untracked(run, uri, Console())
