"""``terraprompt settings``: all settings, listed."""

from __future__ import annotations

from typing import Annotated

import typer

from distributed.config import RunConfig
from distributed.config.describe import as_yaml, settings, value_of
from distributed.errors import UserError, did_you_mean


def list_settings(
    prefix: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A section, such as method, or a setting.", show_default=False)
    ] = "",
) -> None:
    """List the settings of a configuration file: their names, their defaults and what they mean."""
    every = list(settings(RunConfig))
    chosen = [each for each in every if not prefix or f"{each.name}.".startswith(f"{prefix}.")]
    if not chosen:
        names = [each.name for each in every] + list(RunConfig.model_fields)
        raise UserError(f"{prefix}: no such setting{did_you_mean(prefix, names)}")
    for each in chosen:
        typer.echo(f"{each.name} = {as_yaml(value_of(RunConfig(), each.name))}")
        typer.echo(f"    {each.meaning}{' Only trlx reads it.' if each.unused else ''}")
