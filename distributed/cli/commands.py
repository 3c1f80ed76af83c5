"""All commands of ``terraprompt``, and how their mistakes are said."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer

from distributed.cli import (
    config,
    corpus,
    export,
    get_model,
    new_world,
    pretrain,
    replay,
    search,
    settings,
    terrains,
    track,
    train,
    write,
)
from distributed.errors import EXIT_CODE, UserError
from distributed.infra.leaving import leave
from distributed.infra.paths import check_here

UsageMistake: Any = typer.BadParameter.__base__
"""What typer raises for options and commands that do not exist or take other values; it has no public name."""

app = typer.Typer(
    name="terraprompt",
    help="Tunes a soft prompt per terrain, so that a frozen language model writes Sodaracers which cross it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order in which --help lists them.
app.command()(train.train)
app.command()(search.search)
app.command(name="new-world")(new_world.new_world)
app.command(name="get-model")(get_model.get_model)
app.command()(corpus.corpus)
app.command()(pretrain.pretrain)
app.command()(export.export)
app.command()(track.track)
app.command()(write.write)
app.command()(replay.replay)
app.command(name="settings")(settings.list_settings)
app.add_typer(config.app, name="config")
app.add_typer(terrains.app, name="terrains")


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 when all went well, 2 for a mistake of the user's, said in one line on stderr.

    Args:
        arguments: the command's name and what follows it; those of this process for None.
    """
    try:
        check_here()
        code = app(None if arguments is None else list(arguments), prog_name="terraprompt", standalone_mode=False)
    except UserError as error:
        print(f"terraprompt: {error}", file=sys.stderr)
        raise leave(EXIT_CODE) from None
    except UsageMistake as error:
        said = " ".join(error.format_message().split())
        if said:  # else the help is printed, for a command that is given nothing
            print(f"terraprompt: {said.rstrip('.')}; `{_path(error)} --help` has the options", file=sys.stderr)
        raise leave(error.exit_code) from None
    except typer.Abort:
        raise leave(1) from None
    raise leave(code if isinstance(code, int) else 0)


def _path(error: typer.BadParameter) -> str:
    """The command that was misused, as it is written."""
    return error.ctx.command_path if error.ctx else "terraprompt"
