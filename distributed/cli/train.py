"""``terraprompt train``: its options."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from distributed.cli.options import Overrides
from distributed.config import SearchConfig
from distributed.config.load import load_config, with_settings
from distributed.config.unsupported import check_trainable
from distributed.errors import UserError
from distributed.infra.paths import existing

logger = logging.getLogger("terraprompt")


def train(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="YAML file with the settings, such as configs/quickstart.yml; --resume needs none.",
        ),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Continue from the latest checkpoint of this run's directory, as if the run had not stopped, or from "
            "this older one, as a branch in a directory of its own.",
        ),
    ] = None,
    backend: Annotated[
        Literal["ray", "trlx"] | None,
        typer.Option(
            help="What makes the PPO steps: this project's learner, with workers on Ray, or trlx itself, in one "
            "process, where it is installed.",
        ),
    ] = None,
) -> None:
    """Train a soft prompt for each terrain.

    Writes a directory for the run, with checkpoints, a summary and a report, below train.checkpoint_dir, and records
    the run in MLflow. Ctrl-C ends a run in good order; --resume continues it. Then its length, its workers, and how it
    is evaluated, recorded and shown may change; any other setting that differs is refused.

    Inside a Ray job, whose working directory Ray deletes, relative paths of the run and of MLflow's database are taken
    from TERRAPROMPT_HOME, or from ~/terraprompt. MLFLOW_TRACKING_URI names another store.
    """
    if config is None and resume is None:
        raise UserError("train needs --config FILE, or --resume DIR to continue a run")
    if resume is not None and backend is not None:
        raise UserError("--backend: a run goes on with what it began with; leave --backend out beside --resume")
    if config is None:
        assert resume is not None
        from distributed.training.resume import settings_of

        settings_of_run = settings_of(resume, overrides or ())
    else:
        settings_of_run = load_config(config, overrides or ())
        if settings_of_run.search != SearchConfig():
            logger.warning("%s: the section search is for `terraprompt search`; training takes no notice of it", config)
        if settings_of_run.train.run_name is None:
            settings_of_run = with_settings(settings_of_run, {"train.run_name": config.stem})
    check_trainable(settings_of_run)
    if backend == "trlx":
        from distributed.training.trlx_settings import for_trlx

        settings_of_run = for_trlx(settings_of_run)
    resume = existing(resume) if resume else None
    from distributed.jobs.train import run_training

    raise typer.Exit(run_training(settings_of_run, resume))
