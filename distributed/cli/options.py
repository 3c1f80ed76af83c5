"""The argument that several commands take: settings on the command line."""

from __future__ import annotations

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
