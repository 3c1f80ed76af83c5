"""Writes the loop's checkpoints: always the state between two pieces of a run, never one in the middle of an update."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.checkpoint.manager import save_checkpoint
from distributed.config import RunConfig
from distributed.observability.tracker import Tracker
from distributed.training.loop import TrainingLoop


@dataclass
class CheckpointWriter:
    """Keeps the loop's last complete state in memory, so that a signal in the middle of an update finds one to save.

    Attributes:
        directory: the run's, where the checkpoints go.
        loop: what is saved.
        tracker: its run's id is saved beside the loop, so that a resumed run goes on with the same record.
        config: settings of the run.
        facts: what a resumed run is checked against: hashes of the language model and of the terrains.
    """

    directory: Path
    loop: TrainingLoop
    tracker: Tracker
    config: RunConfig
    facts: dict[str, Any]

    def __post_init__(self) -> None:
        self.take()

    def take(self) -> None:
        """Takes the loop's state; to be called between two pieces of the run."""
        self._state, self._step = self.loop.state_dict(), self.loop.step
        recent = [h["fitness/mean"] for h in self.loop.history[-1:] if "fitness/mean" in h]
        self._score = recent[0] if recent and self.config.train.save_best else None

    def save(self) -> None:
        """Writes the state that was taken last."""
        state = {"loop": self._state, "run": {"mlflow_run_id": self.tracker.run_id, **self.facts}}
        save_checkpoint(self.directory, self._step, state, score=self._score)
