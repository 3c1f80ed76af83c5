"""``terraprompt search``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distributed.cli.options import Overrides
from distributed.config.load import with_settings
from distributed.config.trlx_sweep import load_search
from distributed.config.unsupported import check_trainable
from distributed.errors import UserError
from distributed.infra.paths import existing


def search(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="YAML file, such as configs/search_quickstart.yml."),
    ] = None,
    overrides: Overrides = None,
    sweep: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A sweep of trlx's, which says what differs between the runs of --config."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on with the interrupted search of this directory; takes nothing else."),
    ] = None,
) -> None:
    """Search settings with a population of runs on Ray Tune.

    search.space says which settings differ between members, search.algorithm how they compete. Ends with the best
    member evaluated as a run of its own, which `terraprompt export` takes.
    """
    if (config is None) == (resume is None):
        raise UserError("search needs either --config FILE or --resume DIR")
    if sweep is not None and config is None:
        raise UserError("--sweep says what differs between runs; --config FILE says what they have in common")
    if resume is not None and overrides:
        raise UserError(f"--resume goes on with the search's own settings; leave {overrides[0]} out")
    if resume is not None:
        resume = existing(resume)
        from distributed.training.resume import command, is_search, is_training

        if is_training(resume) and not is_search(resume):
            raise UserError(f"--resume: {str(resume)!r} is no search but a run; go on with: {command('train', resume)}")
    if config is None:
        from distributed.search.run import run_search, settings_of

        assert resume is not None
        raise typer.Exit(run_search(settings_of(resume), resume))
    settings_of_search = load_search(config, sweep, overrides or ())
    if settings_of_search.train.run_name is None:
        settings_of_search = with_settings(settings_of_search, {"train.run_name": config.stem})
    check_trainable(settings_of_search)
    # Tune's own imports take seconds.
    from distributed.search.run import run_search

    raise typer.Exit(run_search(settings_of_search))
