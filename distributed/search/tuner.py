"""Makes or restores Tune's tuner. Nothing that it pickles holds a path, so that a search can be moved or copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune

from distributed.config import RunConfig
from distributed.errors import UserError
from distributed.search.callback import LineageCallback
from distributed.search.checkpoints import check_restorable
from distributed.search.schedulers import Budget, FirstMembers, make_scheduler
from distributed.search.space import domains, first_members
from distributed.search.summary import TUNE


def make_tuner(config: RunConfig, directory: Path, trainable: Any, slots: int) -> tune.Tuner:
    """Returns what runs the members: a new tuner, or the one that an interrupted search has left.

    Args:
        config: settings of the search.
        directory: of the search. It may have been moved or copied since the interruption.
        trainable: what a member runs in.
        slots: how many members the cluster has room for at a time.

    Raises:
        UserError: what the interrupted search has left is damaged.
    """
    folder = directory / TUNE
    if not tune.Tuner.can_restore(str(folder)):
        return _new_tuner(config, directory, trainable, slots)
    check_restorable(folder)
    try:
        return tune.Tuner.restore(str(folder), trainable, resume_unfinished=True, resume_errored=True)
    except Exception as error:  # a pickle that is damaged raises anything
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"--resume: {folder / 'tuner.pkl'} cannot be read: {why}") from error


def _new_tuner(config: RunConfig, directory: Path, trainable: Any, slots: int) -> tune.Tuner:
    search, watcher = config.search, LineageCallback(config)
    return tune.Tuner(
        trainable,
        param_space=domains(search.space),
        tune_config=tune.TuneConfig(
            metric=search.objective[0],
            mode="max",
            num_samples=search.members,
            search_alg=FirstMembers(points_to_evaluate=first_members(config), max_concurrent=search.concurrent or 0),
            scheduler=make_scheduler(config, slots),
            reuse_actors=True,
            trial_dirname_creator=_directory_name,
            trial_name_creator=_directory_name,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(directory),
            callbacks=[watcher],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=search.max_failures),
            stop=Budget(search.total_rounds, watcher.rounds_made) if search.total_rounds else None,
            progress_reporter=tune.CLIReporter(
                metric_columns=["fitness", "step", "valid", "rollouts", *_varied(config)],
                parameter_columns={name: name.rpartition(".")[2] for name in search.space},
                max_report_frequency=30,
            ),
            verbose=1,
        ),
    )


def _varied(config: RunConfig) -> list[str]:
    """Figures of variety in Tune's table, and those that members are compared by."""
    return list(dict.fromkeys(["unique", "cells", *(n for n in config.search.objective if n != "fitness")]))


def _directory_name(trial: Any) -> str:
    return f"member-{int(trial.trial_id.rpartition('_')[2]):02d}"
