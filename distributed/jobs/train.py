"""The main job: from a configuration to trained prompts, a summary and a report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from distributed.checkpoint.manager import CheckpointError, latest
from distributed.config import BUNDLED, RunConfig
from distributed.config.worlds import KEPT, KEPT_READ, files_are_gone, make_world, to_keep, world_factory
from distributed.errors import DivergedError, UserError
from distributed.infra.locking import LOCK, locked
from distributed.infra.signals import Interrupted, exit_status, interruptible, say_last
from distributed.infra.writing import WriteError, write_text
from distributed.jobs.finish import finish
from distributed.learner.learner import Learner
from distributed.observability.console import Display, make_console
from distributed.observability.mlflow_tracker import open_tracker
from distributed.observability.tracker import Tracker
from distributed.observability.untracked import UNTRACKED
from distributed.results.run_folder import CONFIG
from distributed.rollout.instructions import all_instruction_ids
from distributed.rollout.pool import RolloutError
from distributed.training.checkpoint_writer import CheckpointWriter
from distributed.training.loop import TrainingLoop
from distributed.training.resume import BRANCH, Start, command, find_start, in_python
from distributed.training.setup import (
    about_lm,
    check_positions,
    connect,
    exported,
    load_lm,
    make_pool,
    new_directory,
    terrain_names,
    with_names,
)
from distributed.training.trlx_settings import by_trlx, check_for_trlx
from softprompt.ambient import usual_torch
from terrains.base import World
from terrains.optional import niches_of

Functions = Mapping[str, Callable[..., Any]]
"""Reward functions that were given in Python, by the names that settings call them."""


@dataclass(frozen=True)
class Ended:
    """How a run has ended.

    Attributes:
        directory: of the run.
        signal: number of the signal that interrupted it, SIGPIPE's for a broken pipe; None where none did.
    """

    directory: Path
    signal: int | None


def run_training(config: RunConfig, resume: Path | None = None) -> int:
    """Makes a run as a command: see `make_run`, whose arguments and errors it has.

    Returns:
        The exit status: 0, or 130, 143, 129 or 141 when the run was interrupted by SIGINT, SIGTERM, SIGHUP or a broken
        pipe.
    """
    interrupted = make_run(config, resume).signal
    return 0 if interrupted is None else exit_status(interrupted)


def make_run(config: RunConfig, resume: Path | None = None, functions: Functions | None = None) -> Ended:
    """Trains, evaluates and reports; a checkpoint is written after every piece of the run and when it is interrupted.

    Args:
        config: settings of the run.
        resume: a checkpoint, or the directory of a run, to continue from. A checkpoint older than the run's latest
            begins a branch, in a directory of its own.
        functions: reward functions that settings name and that lie in no file.

    Returns:
        The run's directory, and whether the run came to its end.

    Raises:
        UserError: a terrain, the language model, the checkpoint or Ray is not there or not what it should be, a setting
            that cannot change differs, another process works on the run, or a file cannot be written. An error found
            before the first program is sampled leaves no directory behind.
    """
    resume = resume or (Path(config.train.resume_from_checkpoint) if config.train.resume_from_checkpoint else None)
    console = make_console()
    with ExitStack() as held:
        held.enter_context(usual_torch())
        start = find_start(resume, held) if resume else None
        config = start.settings(config) if start else config
        if by_trlx(config):
            _prepare_trlx(config, console)
        kept = start.run if start else None
        world = held.enter_context(closing(make_world(config, _source_folder(config, kept), functions)))
        config = with_names(world, config)
        terrains = terrain_names(world, config)
        lm = load_lm(config)
        tasks = [world.terrain(t) for t in terrains]
        instructions = all_instruction_ids(lm, tasks)
        check_positions(config, lm, instructions)
        connect(config)
        torch.set_num_threads(os.cpu_count() or 1)
        learner = Learner(config, lm, instructions, tasks, niches_of(world))
        directory = _directory(config, start, held)
        with interruptible() as received:
            try:
                console.print(f"run {directory} (seed {config.train.seed})", highlight=False, soft_wrap=True)
                if config.model.model_path != BUNDLED:
                    console.print(about_lm(config, lm), markup=False, highlight=False, soft_wrap=True)
                _train(config, world, terrains, learner, directory, start, received, console)
            except BaseException as error:
                _end(error, received, directory, functions)
    return Ended(directory, received[0] if received else None)


def _directory(config: RunConfig, start: Start | None, held: ExitStack) -> Path:
    """The run's directory, which no other process writes to while it is held."""
    if start and not start.is_branch:
        return start.run
    directory = start.new_branch() if start else new_directory(config)
    held.enter_context(locked(directory))
    return directory


def _end(error: BaseException, received: list[int], directory: Path, functions: Functions | None) -> None:
    """Tells how to continue a run that stopped; raises its error, unless a signal was the cause."""
    kept = latest(directory) is not None
    again = f"continue with: {in_python(directory) if functions else command('train', directory)}"
    if not kept:
        _remove_empty(directory)
    if isinstance(error, DivergedError) and kept:
        raise UserError(f"{error}; the last good checkpoint is {latest(directory)}") from error
    if isinstance(error, RolloutError | CheckpointError | WriteError):
        raise UserError(f"{error}; {again}" if kept else str(error)) from error
    # After a signal, exceptions come from whatever it interrupted: they are no errors of the run.
    if not received:
        raise error
    say_last(f"interrupted; {again}" if kept else "interrupted before there was anything to keep")


def _train(
    config: RunConfig,
    world: World,
    terrains: list[str],
    learner: Learner,
    directory: Path,
    start: Start | None,
    received: list[int],
    console: Console,
) -> None:
    """Trains from the beginning, or from a checkpoint, to the end of the run or to an interruption."""
    lm, instructions = learner.lm, learner.instructions
    display = Display(terrains, console)
    fingerprints = {name: world.terrain(name).fingerprint for name in terrains}
    facts = {"lm": lm.hash, "terrains": fingerprints, "total_steps": config.train.total_steps}
    folder = _source_folder(config, start.run if start else None)
    factory = world_factory(config, world, folder)
    with display, make_pool(config, terrains, instructions, exported(lm), factory) as pool:
        loop = _loop(world, config, terrains, learner, pool, Tracker(), display)
        if start:
            if note := _check_facts(start.saved.state["run"], facts):
                display.message(note)
            _restore(loop, start.loop_state(config), start.saved.path)
            display.message(_resumed(loop, start, directory))
        # Written only when the checkpoint has been loaded: one that does not fit leaves the run's files unchanged.
        settings = json.dumps(config.model_dump(mode="json", by_alias=True), indent=2)
        write_text(directory / CONFIG, f"{settings}\n")
        for name, text in to_keep(config, world, folder).items():
            write_text(directory / name, text)
        with _tracker(config, directory, start) as tracker:
            loop.tracker = tracker
            checkpoints = CheckpointWriter(directory, loop, tracker, config, facts)
            if start and start.is_branch:
                checkpoints.save()
            _advance(loop, checkpoints, received)
            display.close()
            finish(loop, lm, world, directory, console)


def _prepare_trlx(config: RunConfig, console: Console) -> None:
    """Makes sure that trlx is there and can do what is asked for, and says what it will not do."""
    from distributed.training.trlx_loop import check_installed

    ignored = check_for_trlx(config)
    check_installed()
    if ignored:
        console.print(ignored, highlight=False, soft_wrap=True)


def _loop(world: World, config: RunConfig, *parts: Any) -> TrainingLoop:
    """The loop of this project's learner, or that of trlx."""
    if not by_trlx(config):
        return TrainingLoop(config, *parts)
    from distributed.training.trlx_loop import TrlxLoop

    return TrlxLoop(world, config, *parts)


def _source_folder(config: RunConfig, run: Path | None) -> Path | None:
    """The folder whose copies of the world's files a resumed run takes: only where a file itself is gone."""
    return run if run and files_are_gone(config) else None


def _resumed(loop: TrainingLoop, start: Start, directory: Path) -> str:
    """One line on where a run goes on, and on what becomes of newer checkpoints."""
    said = f"resumed from {start.saved.path}: {loop.stage}, {loop.step} steps made"
    if not start.is_branch:
        return said
    return f"{said}; {start.run} has come to step {start.newest} and stays as it is, this is a branch: {directory}"


def _advance(loop: TrainingLoop, checkpoints: CheckpointWriter, received: list[int]) -> None:
    """Takes the loop to its end, with checkpoints on the way; what stops it leaves one too."""
    try:
        while loop.stage != "done":
            stage, step = loop.stage, loop.step
            loop.advance()
            checkpoints.take()
            if received:
                raise Interrupted(received[0])
            if loop.stage != stage or loop.step % loop.config.train.checkpoint_interval == 0:
                checkpoints.save()
            if (stage, step) == (loop.stage, loop.step):
                raise RuntimeError(f"the run does not go on from {stage}, step {step}")
    except BaseException as error:
        if received or isinstance(error, RolloutError | DivergedError):
            checkpoints.save()
        if received:
            # Ray may have turned Interrupted into another exception, which the tracker would record as a failure.
            loop.tracker.close("KILLED")
        raise


def _remove_empty(directory: Path) -> None:
    """Removes the directory of a run that never came to a checkpoint, unless something else lies in it."""
    with suppress(OSError):
        for name in (CONFIG, KEPT, KEPT_READ, BRANCH, LOCK, UNTRACKED):
            (directory / name).unlink(missing_ok=True)
        directory.rmdir()


def _restore(loop: TrainingLoop, state: dict, path: Path) -> None:
    try:
        loop.load_state_dict(state)
    except (ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"--resume: {path} does not fit this configuration: {error}") from None


def _check_facts(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Checks that terrains and language model are what they were when the run began: files may have changed since.

    Returns:
        What a checkpoint of an older version does not say, in one line; empty where it says all.
    """
    for name, fingerprint in now["terrains"].items():
        if before.get("terrains", {}).get(name, fingerprint) != fingerprint:
            raise UserError(
                f"--resume: {name} is another terrain than when the run began: its scores would not compare"
            )
    if before.get("lm", now["lm"]) != now["lm"]:
        raise UserError("--resume: model.model_path: the language model there is another one than when the run began")
    unknown = [name for name in now["terrains"] if name not in before.get("terrains", {})]
    unknown += [] if "lm" in before else ["the language model"]
    said = "the checkpoint does not say what these were; they are taken as they are: "
    return said + ", ".join(unknown) if unknown else ""


def _tracker(config: RunConfig, directory: Path, start: Start | None) -> Tracker:
    """Opens the tracker. A branch, or a run that is to be recorded elsewhere, gets a record of its own.

    Such a record starts with the metrics of the steps before it, so that its curves are whole.
    """
    job = os.environ.get("RAY_JOB_ID") or os.environ.get("RAY_JOB_SUBMISSION_ID")
    tags = {"run_directory": str(directory), **{str(k): "true" for k in config.train.tags}}
    run_id = start.saved.state["run"].get("mlflow_run_id") if start else None
    if start and start.is_branch:
        origin = {"branch_of": str(start.run), "branch_of_run_id": str(run_id), "branch_step": str(start.saved.step)}
        tags |= origin
    goes_on = start is not None and start.keeps_record(config)
    tracker = open_tracker(
        config.train.tracker,
        config.tracking.experiment,
        config.model_dump(mode="json", by_alias=True),
        run_name=directory.name,
        tags=tags | ({"ray_job_id": job} if job else {}),
        run_id=run_id if goes_on else None,
        uri=config.tracking.uri,
        keep=directory / UNTRACKED,
    )
    for entry in start.saved.state["loop"]["history"] if start and not goes_on else ():
        tracker.log({k: v for k, v in entry.items() if isinstance(v, int | float)}, entry["step"])
    return tracker
