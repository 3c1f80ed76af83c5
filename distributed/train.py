"""The main job: from a configuration to trained prompts, a summary and a report."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console

from distributed.assemble import load_lm, make_pool, make_world, new_directory, terrain_names
from distributed.checkpoint import Checkpoint, CheckpointError, latest, load_checkpoint, save_checkpoint
from distributed.config import RunConfig
from distributed.display import Display
from distributed.errors import UserError
from distributed.finish import finish
from distributed.learner import Learner
from distributed.loop import TrainingLoop
from distributed.tracking import NullTracker, open_tracker
from distributed.worker import instruction_ids

logger = logging.getLogger("terraprompt")

EXIT_INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Interrupted(BaseException):
    """SIGINT or SIGTERM came. No Exception, so that nothing between here and `run_training` takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_training(config: RunConfig, resume: Path | None = None) -> int:
    """Trains, evaluates and reports; a checkpoint is written after every piece of the run and at Ctrl-C or SIGTERM.

    Args:
        config: settings of the run.
        resume: a checkpoint, or the directory of a run, to continue from.

    Returns:
        The exit status: 0, or 130 or 143 when the run was interrupted.

    Raises:
        UserError: a terrain, the language model or the checkpoint is not there or not what it should be.
    """
    resume = resume or (Path(config.train.resume_from_checkpoint) if config.train.resume_from_checkpoint else None)
    world = make_world(config)
    terrains = terrain_names(world, config)
    saved = _load(resume) if resume else None
    lm = load_lm(config)
    directory = saved.path.parent if saved else new_directory(config)
    previous = saved.state["run"] if saved else {}
    console = Console()
    console.print(f"run {directory} (seed {config.train.seed})", highlight=False, soft_wrap=True)
    (directory / "config.json").write_text(json.dumps(config.model_dump(mode="json", by_alias=True), indent=2) + "\n")
    instructions = [instruction_ids(lm, world.terrain(t).instruction) for t in terrains]
    tracker = _tracker(config, directory, previous.get("mlflow_run_id"))
    torch.set_num_threads(os.cpu_count() or 1)
    display = Display(terrains, console)
    try:
        with signals(), tracker, display, make_pool(config, terrains, instructions, lm.export()) as pool:
            learner = Learner(config, lm, instructions)
            loop = TrainingLoop(config, terrains, learner, pool, tracker, display)
            if saved:
                _restore(loop, saved.state["loop"], saved.path)
                display.message(f"resumed from {saved.path}: {loop.stage}, {loop.step} steps made")
            keeper = _Keeper(directory, loop, tracker, config)
            try:
                _run(loop, keeper)
            except Interrupted as interrupt:
                keeper.save()
                tracker.close("KILLED")
                display.message(f"interrupted; continue with: terraprompt train --config ... --resume {directory}")
                return EXIT_INTERRUPTED[signal.Signals(interrupt.number)]
            finish(loop, lm, world, directory, console)
    finally:
        world.close()
    return 0


def _run(loop: TrainingLoop, keeper: _Keeper) -> None:
    while loop.stage != "done":
        stage, step = loop.stage, loop.step
        loop.advance()
        keeper.note()
        if loop.stage != stage or loop.step % loop.config.train.checkpoint_interval == 0:
            keeper.save()
        if (stage, step) == (loop.stage, loop.step):
            raise RuntimeError(f"the run does not go on from {stage}, step {step}")


@dataclass
class _Keeper:
    """Keeps the last whole state of the loop, so that a signal in the middle of an update finds one to save."""

    directory: Path
    loop: TrainingLoop
    tracker: NullTracker
    config: RunConfig

    def __post_init__(self) -> None:
        self.note()

    def note(self) -> None:
        """Takes the state; call it between two pieces of the run."""
        self._state, self._step = self.loop.state_dict(), self.loop.step
        recent = [h["fitness/mean"] for h in self.loop.history[-1:] if "fitness/mean" in h]
        self._score = recent[0] if recent and self.config.train.save_best else None

    def save(self) -> None:
        """Writes the state that was taken last."""
        state = {"loop": self._state, "run": {"mlflow_run_id": self.tracker.run_id}}
        save_checkpoint(self.directory, self._step, state, score=self._score)


@contextmanager
def signals() -> Iterator[None]:
    """Turns SIGINT and SIGTERM into `Interrupted`; a second one ends the process as it always did."""

    def raise_interrupted(number: int, _: FrameType | None) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        raise Interrupted(number)

    before = {each: signal.signal(each, raise_interrupted) for each in EXIT_INTERRUPTED}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


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
    )


if __name__ == "__main__":
    import sys

    from distributed.cli import main

    main(["train", *sys.argv[1:]])
