"""Where a resumed run goes on: at which checkpoint, with which settings, in which directory."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.checkpoint.manager import MANIFEST, Checkpoint, CheckpointError, latest, load_checkpoint
from distributed.config import RunConfig
from distributed.config.load import parse_config
from distributed.config.resuming import resumed
from distributed.config.worlds import with_whole_paths
from distributed.errors import UserError
from distributed.infra.locking import locked
from distributed.infra.paths import existing
from distributed.infra.writing import write_text
from distributed.results.run_folder import CONFIG, check_sections, read_object
from distributed.training.loop import STAGES
from distributed.training.setup import free_directory

LINEAGE = "lineage.json"
"""A directory with this file is that of a search."""

BRANCH = "branch.json"
"""File in the directory of a branch, with the run and the checkpoint that it began from."""


@dataclass(frozen=True)
class Start:
    """The checkpoint at which a run goes on.

    Attributes:
        run: directory of the run.
        saved: the checkpoint.
        before: settings of the run until now.
        newest: step of the run's newest checkpoint.
    """

    run: Path
    saved: Checkpoint
    before: RunConfig
    newest: int

    @property
    def is_branch(self) -> bool:
        """Whether the run has newer checkpoints, so that going on from this one makes another run."""
        return self.saved.step < self.newest

    def settings(self, asked: RunConfig) -> RunConfig:
        """Settings with which the run goes on.

        Raises:
            UserError: something was asked for that cannot change in a run that has begun.
        """
        loop = self.saved.state["loop"]
        closed = bool(self.before.method.closing_steps) and _is_past(loop, "closing")
        try:
            return resumed(self.before, asked, loop["step"], closed)
        except UserError as error:
            raise UserError(f"--resume: {error}") from None

    def loop_state(self, now: RunConfig) -> dict[str, Any]:
        """The loop's state, taken back to the stage ``steps`` or ``evaluation`` where the settings now ask for more.

        Args:
            now: settings with which the run goes on.
        """
        loop, before = self.saved.state["loop"], self.before
        # The checkpoint's total_steps: config.json may come from a process that stopped before its first checkpoint.
        # The best run of a search has made fewer steps than its settings say, and its checkpoint has no total_steps.
        planned = self.saved.state["run"].get("total_steps", before.train.total_steps)
        if _is_past(loop, "steps") and max(planned, loop["step"]) < now.train.total_steps:
            return {**loop, "stage": "steps", "tuned": {}}
        samples = {len(each["programs"]) for each in loop["tuned"].values()}
        changed = samples != {now.evaluation.samples_per_terrain} or before.train.save_best != now.train.save_best
        return {**loop, "stage": "evaluation", "tuned": {}} if loop["stage"] == "done" and changed else loop

    def keeps_record(self, now: RunConfig) -> bool:
        """Whether the same MLflow run goes on: not for a branch, nor for another store or experiment."""
        places = [(each.tracking.uri, each.tracking.experiment) for each in (self.before, now)]
        return not self.is_branch and places[0] == places[1]

    def new_branch(self) -> Path:
        """Makes the directory of a branch, ``NAME-branch-1`` and so on beside the run's, with BRANCH in it."""
        directory = free_directory(self.run.parent, (f"{self.run.name}-branch-{n}" for n in range(1, 10_000)))
        said = {"run": str(self.run), "checkpoint": self.saved.path.name, "step": self.saved.step}
        write_text(directory / BRANCH, json.dumps(said, indent=2) + "\n")
        return directory


def find_start(given: Path, held: ExitStack) -> Start:
    """Finds the checkpoint to go on at: the given one, or the latest of a run.

    Args:
        given: directory of a run or of one of its checkpoints.
        held: gets the lock of the run's directory; for an older checkpoint none is needed, as its run is not changed.

    Raises:
        UserError: there is none, it is damaged, or another process is at work there.
    """
    path = existing(given)
    if is_search(path):
        raise UserError(f"--resume: {str(given)!r} is a search; go on with: {command('search', path)}")
    run, name = _parts(path)
    try:
        if name is None or _newest(run) == name:
            held.enter_context(locked(run))
        newest = _newest(run)
        if name is None and newest is None:
            raise UserError(f"--resume: there is no checkpoint in {str(given)!r}")
        saved = load_checkpoint(run / (name or newest or ""))
        last = load_checkpoint(run / newest).step if newest and newest != saved.path.name else saved.step
    except CheckpointError as error:
        raise UserError(f"--resume: {error}") from None
    if not _is_of_training(saved.state):
        raise UserError(f"--resume: {str(saved.path)!r} is no checkpoint of a training run")
    return Start(run, saved, settings_of(run), last)


def settings_of(given: Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> RunConfig:
    """Reads the settings that a run was made with.

    Args:
        given: directory of the run or of one of its checkpoints.
        overrides: settings that replace the run's own, such as ``train.total_steps=12``, or values by their names.

    Raises:
        UserError: there is no such run, or one of the overrides is no setting.
    """
    path = existing(given)
    if is_search(path):
        raise UserError(f"--resume: {str(given)!r} is a search; go on with: {command('search', path)}")
    run, name = _parts(path)
    if name is None and _newest(run) is None:
        raise UserError(f"--resume: there is no checkpoint in {str(given)!r}")
    file = run / CONFIG
    try:
        said = read_object(file, kind="run")
    except UserError as error:
        raise UserError(f"--resume: {error}") from None
    check_sections(said, file)
    return with_whole_paths(parse_config(said, overrides, source=str(file)), run)


def is_search(path: Path) -> bool:
    """Whether a directory is that of a search."""
    return (path / LINEAGE).is_file()


def is_training(path: Path) -> bool:
    """Whether a directory is that of a training run, or of one of its checkpoints."""
    return (path / MANIFEST).is_file() or latest(path) is not None


def command(name: str, path: Path) -> str:
    """The command that resumes what is at a path, quoted for a shell."""
    return f"terraprompt {name} --resume {shlex.quote(str(path))}"


def in_python(path: Path, gives_functions: bool = True) -> str:
    """The call that resumes a run; reward functions that were given in Python have to be given again."""
    return f"terraprompt.train(resume={str(path)!r}{', reward_fn=...' if gives_functions else ''})"


def _is_of_training(state: Any) -> bool:
    """Whether what a checkpoint holds has the parts that a run goes on from."""
    loop, run = (state.get(name) for name in ("loop", "run")) if isinstance(state, dict) else (None, None)
    if not isinstance(loop, dict) or not isinstance(run, dict):
        return False
    kinds = {"step": int, "stage": str, "tuned": dict, "history": list}
    return all(isinstance(loop.get(name), kind) for name, kind in kinds.items()) and loop["stage"] in STAGES


def _parts(path: Path) -> tuple[Path, str | None]:
    """The run's directory, and the checkpoint's name where one is given; links are followed to the checkpoint."""
    if (path / MANIFEST).is_file():
        return path.parent, path.resolve().name
    return path, None


def _newest(run: Path) -> str | None:
    found = latest(run)
    return found.name if found else None


def _is_past(loop: Mapping[str, Any], stage: str) -> bool:
    return STAGES.index(loop["stage"]) > STAGES.index(stage)
