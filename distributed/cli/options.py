"""What several commands take: settings on the command line, and the world that scores programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SETTING=VALUE]...",
        help="Settings that come before those of the file, such as method.n_soft_tokens=8. "
        "`terraprompt settings` lists all.",
        show_default=False,
    ),
]

World = Annotated[
    str | None,
    typer.Option(
        metavar="WORLD",
        help="World that scores the program: sodarace, my_world.py:MyWorld, package.module:MyWorld, or an entry point.",
        show_default=False,
    ),
]

WorldConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="YAML file of a run, whose world and settings of it score the program.",
        show_default=False,
    ),
]

WorldRun = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Folder of a run, whose world scores the program.", show_default=False),
]
