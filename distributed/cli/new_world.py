"""``terraprompt new-world``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_world(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the world, such as my_world.")],
) -> None:
    """Write NAME.py, a world of your own to start from, and NAME.yml, which trains on it at once."""
    from distributed.jobs.new_world import new_world as run

    world, settings = run(name, Path())
    typer.echo(f"wrote {world} and {settings}; train with: terraprompt train --config {settings}")
