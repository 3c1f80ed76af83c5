"""The main job: from a configuration to trained prompts, a summary and a report."""

from __future__ import annotations

import json
import os
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from distributed.assemble import check_positions, connect, load_lm, make_pool, make_world, new_directory, terrain_names
from distributed.checkpoint import Checkpoint, CheckpointError, latest, load_checkpoint, save_checkpoint
from distributed.config import RunConfig
from distributed.display import Display, make_console
from distributed.errors import DivergedError, UserError
from distributed.finish import finish
from distributed.interruption import Interrupted, exit_status, interruptible
from distributed.learner import Learner
from distributed.loop import TrainingLoop
from distributed.pool_base import RolloutError
from distributed.tracking import NullTracker, open_tracker
from distributed.untracked import UNTRACKED
from distributed.worker import instruction_ids
from terrains.sodarace.world import SodaraceWorld


def run_training(config: RunConfig, resume: Path | None = None) -> int:
    """Trains, evaluates and reports; a checkpoint is written after every piece of the run and at Ctrl-C or SIGTERM.

    Args:
        config: settings of the run.
        resume: a checkpoint, or the directory of a run, to continue from.

    Returns:
        The exit status: 0, or 130 or 143 when the run was interrupted.

    Raises:
        UserError: a terrain, the language model, the checkpoint or Ray is not there or not what it should be. What is
            found before the first program is sampled leaves no directory behind.
    """
    resume = resume or (Path(config.train.resume_from_checkpoint) if config.train.resume_from_checkpoint else None)
    console = make_console()
    with closing(make_world(config)) as world:
        terrains = terrain_names(world, config)
        saved = _load(resume) if resume else None
        lm = load_lm(config)
        instructions = [instruction_ids(lm, world.terrain(t).instruction) for t in terrains]
        check_positions(config, lm, instructions)
        connect(config)
        torch.set_num_threads(os.cpu_count() or 1)
        learner = Learner(config, lm, instructions, [world.terrain(t) for t in terrains])
        directory = saved.path.parent if saved else new_directory(config)
        console.print(f"run {directory} (seed {config.train.seed})", highlight=False, soft_wrap=True)
        with interruptible() as received:
            try:
                _sit(config, world, terrains, learner, directory, saved, received, console)
            except BaseException as error:
                kept = latest(directory) is not None
                again = f"continue with: terraprompt train --config ... --resume {directory}"
                if not kept:
                    _forget(directory)
                if isinstance(error, DivergedError) and kept:
                    raise UserError(f"{error}; the last good checkpoint is {latest(directory)}") from error
                if isinstance(error, RolloutError):
                    raise UserError(f"{error}; {again}" if kept else str(error)) from error
                # Whatever a signal has broken on its way is no error of the run.
                if not received:
                    raise
                end = f"interrupted; {again}" if kept else "interrupted before there was anything to keep"
                console.print(end, highlight=False, soft_wrap=True)
    return exit_status(received[0]) if received else 0


def _sit(
    config: RunConfig,
    world: SodaraceWorld,
    terrains: list[str],
    learner: Learner,
    directory: Path,
    saved: Checkpoint | None,
    received: list[int],
    console: Console,
) -> None:
    """One sitting of a run: from its beginning or a checkpoint to its end or an interruption."""
    lm, instructions = learner.lm, learner.instructions
    display = Display(terrains, console)
    run_id = saved.state["run"].get("mlflow_run_id") if saved else None
    with display, make_pool(config, terrains, instructions, lm.export()) as pool:
        loop = TrainingLoop(config, terrains, learner, pool, NullTracker(), display)
        grounds = {name: world.ground(name).fingerprint() for name in terrains}
        if saved:
            _restore(loop, saved.state["loop"], saved.path)
            _check_grounds(saved.state["run"].get("grounds", {}), grounds)
            display.message(f"resumed from {saved.path}: {loop.stage}, {loop.step} steps made")
        # Only now: a checkpoint that does not fit leaves the records of its run as they are.
        settings = json.dumps(config.model_dump(mode="json", by_alias=True), indent=2)
        (directory / "config.json").write_text(f"{settings}\n")
        with _tracker(config, directory, run_id) as tracker:
            loop.tracker = tracker
            _run(loop, _Keeper(directory, loop, tracker, config, grounds), received)
            display.close()
            finish(loop, lm, world, directory, console)


def _run(loop: TrainingLoop, keeper: _Keeper, received: list[int]) -> None:
    """Takes the loop to its end; what stops it on the way leaves a checkpoint."""
    try:
        while loop.stage != "done":
            stage, step = loop.stage, loop.step
            loop.advance()
            keeper.note()
            if received:
                raise Interrupted(received[0])
            if loop.stage != stage or loop.step % loop.config.train.checkpoint_interval == 0:
                keeper.save()
            if (stage, step) == (loop.stage, loop.step):
                raise RuntimeError(f"the run does not go on from {stage}, step {step}")
    except BaseException as error:
        if received or isinstance(error, RolloutError | DivergedError):
            keeper.save()
        if received:
            # By the exception, which Ray may have made another one of, the tracker would take it for a failure.
            loop.tracker.close("KILLED")
        raise


@dataclass
class _Keeper:
    """Keeps the last whole state of the loop, so that a signal in the middle of an update finds one to save."""

    directory: Path
    loop: TrainingLoop
    tracker: NullTracker
    config: RunConfig
    grounds: dict[str, str]

    def __post_init__(self) -> None:
        self.note()

    def note(self) -> None:
        """Takes the state; call it between two pieces of the run."""
        self._state, self._step = self.loop.state_dict(), self.loop.step
        recent = [h["fitness/mean"] for h in self.loop.history[-1:] if "fitness/mean" in h]
        self._score = recent[0] if recent and self.config.train.save_best else None

    def save(self) -> None:
        """Writes the state that was taken last."""
        state = {"loop": self._state, "run": {"mlflow_run_id": self.tracker.run_id, "grounds": self.grounds}}
        save_checkpoint(self.directory, self._step, state, score=self._score)


def _forget(directory: Path) -> None:
    """Removes the directory of a run that never came to a checkpoint, unless something else lies in it."""
    for name in ("config.json", UNTRACKED):
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()


def _load(path: Path) -> Checkpoint:
    """The checkpoint at a path, or the latest of the run at that path."""
    try:
        found = path if (path / "manifest.json").exists() else latest(path)
        if found is None:
            raise UserError(f"--resume: there is no checkpoint in {str(path)!r}")
        return load_checkpoint(found)
    except CheckpointError as error:
        raise UserError(f"--resume: {error}") from None


def _restore(loop: TrainingLoop, state: dict, path: Path) -> None:
    try:
        loop.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise UserError(f"--resume: {path} does not fit this configuration: {error}") from None


def _check_grounds(before: dict[str, str], now: dict[str, str]) -> None:
    """Checks that terrains are what they were when the run began: a file may have changed since."""
    for name, fingerprint in now.items():
        if before.get(name, fingerprint) != fingerprint:
            raise UserError(f"--resume: {name} is another ground than when the run began")


def _tracker(config: RunConfig, directory: Path, run_id: str | None) -> NullTracker:
    job = os.environ.get("RAY_JOB_ID") or os.environ.get("RAY_JOB_SUBMISSION_ID")
    tags = {"run_directory": str(directory), **{str(k): "true" for k in config.train.tags}}
    return open_tracker(
        config.train.tracker,
        config.tracking.experiment,
        config.model_dump(mode="json", by_alias=True),
        run_name=directory.name,
        tags=tags | ({"ray_job_id": job} if job else {}),
        run_id=run_id,
        uri=config.tracking.uri,
        keep=directory / UNTRACKED,
    )


if __name__ == "__main__":
    import sys

    from distributed.cli import main

    main(["train", *sys.argv[1:]])
