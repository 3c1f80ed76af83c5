"""Watches a search from the driver: keeps the record, and a nested MLflow run for each member."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ray.tune import Callback

from distributed.config import RunConfig
from distributed.display import make_console
from distributed.mlflow_store import flatten
from distributed.search.record import FILE, Record, says
from distributed.search.trial import INHERITED, member_number
from distributed.tracking import NullTracker, open_tracker

logger = logging.getLogger("terraprompt")


class Watcher(Callback):
    """Tune's callback. It is pickled with the search before that begins, so all it knows is in files.

    What differs between members and moves is a metric or a tag of their runs, and never a param, which MLflow would
    not let change.
    """

    def __init__(self, directory: Path, config: RunConfig) -> None:
        """Takes the search's directory and settings."""
        self._directory, self._config = directory, config
        self._record: Record | None = None
        self._trackers: dict[int, NullTracker] = {}

    @property
    def record(self) -> Record:
        """The record, read when it is first needed."""
        if self._record is None:
            self._record = Record(self._directory / FILE)
            self._record.errors.clear()
        return self._record

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Notes a round."""
        member = member_number(trial.trial_id)
        prefix = "fitness/"
        entry = {
            "member": member,
            "round": result["training_iteration"],
            "step": result["step"],
            "fitness": result["fitness"],
            "by_terrain": {k.removeprefix(prefix): v for k, v in result.items() if k.startswith(prefix)},
            "valid": result["valid"],
            "settings": result["settings"],
            "trained_on": result["trained_on"],
            "trial": trial.trial_id,
        }
        exploit = self.record.add(entry, result.get(INHERITED))
        tracker = self._tracker(member)
        moving = {f"settings/{k}": v for k, v in entry["settings"].items() if isinstance(v, int | float)}
        tracker.log({k: float(v) for k, v in result.items() if _is_metric(k, v)} | moving, entry["at"])
        for name, value in entry["settings"].items():
            tracker.tag(f"settings.{name}", str(value))
        if exploit:
            make_console().print(says(exploit), markup=False, highlight=False, soft_wrap=True)
            tracker.tag("copied", str(exploit["donor"]))
            tracker.log({k: float(v) for k, v in exploit.items() if k.startswith(("kl_", "fitness_"))}, entry["at"])
        self.record.save()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Notes that a member is done."""
        member = member_number(trial.trial_id)
        self.record.ended = sorted({*self.record.ended, member})
        self.record.save()
        self._tracker(member).close()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Notes why a member failed; the others go on."""
        member = member_number(trial.trial_id)
        lines = [line.strip() for line in str(trial.get_error() or "").splitlines() if line.strip()]
        self.record.errors[str(member)] = lines[-1][:500] if lines else "it did not say why"
        self.record.save()
        logger.warning("member %d failed, and the others go on: %s", member, self.record.errors[str(member)])
        self._tracker(member).close("FAILED")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Ends the runs of members that were interrupted."""
        for tracker in self._trackers.values():
            tracker.close("KILLED")

    def _tracker(self, member: int) -> NullTracker:
        """The member's tracker, opened when it is first needed; params are what all members have in common."""
        if member not in self._trackers:
            common = flatten(self._config.model_dump(mode="json", by_alias=True, exclude={"search"}))
            tracker = self._trackers[member] = open_tracker(
                self._config.train.tracker,
                self._config.tracking.experiment,
                {name: value for name, value in common.items() if name not in self._config.search.space},
                run_name=f"{self._directory.name}/member-{member}",
                tags={"member": str(member), "search": str(self._directory)},
                parent_run_id=self.record.mlflow.get("search"),
                run_id=self.record.mlflow.get(str(member)),
                uri=self._config.tracking.uri,
                keep=self._directory / f"untracked-member-{member}.jsonl",
            )
            if tracker.run_id:
                self.record.mlflow[str(member)] = tracker.run_id
        return self._trackers[member]


def _is_metric(name: str, value: Any) -> bool:
    ours = name in ("fitness", "valid", "step", "rollouts", "n_soft_tokens") or name.startswith("fitness/")
    return ours and isinstance(value, int | float)
