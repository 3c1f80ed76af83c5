"""Records a search from the driver: its lineage, and a nested MLflow run for each member."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ray.tune import Callback

from distributed.config import RunConfig
from distributed.observability.console import make_console
from distributed.observability.mlflow_store import flatten
from distributed.observability.mlflow_tracker import open_tracker
from distributed.observability.tracker import Tracker
from distributed.search.lineage import FILE, Record, describe_exploit
from distributed.search.objective import figures_in
from distributed.search.trainable import DAMAGED, INHERITED, member_number

logger = logging.getLogger("terraprompt")


class LineageCallback(Callback):
    """Tune's callback, which writes ``lineage.json`` and the members' MLflow runs.

    Tune pickles it before the search begins, so it keeps its state in files. It asks Tune for their folder in each
    process, as a search may be moved or copied between two.

    Settings that change during a member's life are metrics or tags of its run: MLflow does not let a param change.
    """

    def __init__(self, config: RunConfig) -> None:
        """Takes the search's settings."""
        self._config = config
        self._record: Record | None = None
        self._trackers: dict[int, Tracker] = {}

    def rounds_made(self) -> int:
        """How many rounds are in the record; 0 until a member has reported to this process."""
        return len(self._record.rounds) if self._record else 0

    def _record_of(self, trial: Any) -> Record:
        """The record of a trial's search, read when it is first needed."""
        if self._record is None:
            self._record = Record(Path(trial.storage.experiment_fs_path).parent / FILE)
            self._record.errors.clear()
        return self._record

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Notes a round."""
        record, member = self._record_of(trial), member_number(trial.trial_id)
        prefix = "fitness/"
        entry = {
            "member": member,
            "round": result["training_iteration"],
            "step": result["step"],
            "fitness": result["fitness"],
            "by_terrain": {k.removeprefix(prefix): v for k, v in result.items() if k.startswith(prefix)},
            "valid": result["valid"],
            "variety": figures_in(result),
            "settings": result["settings"],
            "trained_on": result["trained_on"],
            "trial": trial.trial_id,
        }
        exploit = record.add(entry, result.get(INHERITED))
        for name in record.pass_over(result.get(DAMAGED, "").split()):
            logger.warning("%s is damaged and was passed over; member %d is at step %d", name, member, result["step"])
        tracker = self._tracker(record, member)
        moving = {f"settings/{k}": v for k, v in entry["settings"].items() if isinstance(v, int | float)}
        own = {k: float(v) for k, v in result.items() if _is_metric(k, v)}
        tracker.log(own | entry["variety"] | moving, entry["at"])
        for name, value in entry["settings"].items():
            tracker.tag(f"settings.{name}", str(value))
        if exploit:
            make_console().print(describe_exploit(exploit), markup=False, highlight=False, soft_wrap=True)
            tracker.tag("copied", str(exploit["donor"]))
            tracker.log({k: float(v) for k, v in exploit.items() if k.startswith(("kl_", "fitness_"))}, entry["at"])
        self._save(record)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Notes that a member is done."""
        record, member = self._record_of(trial), member_number(trial.trial_id)
        record.ended = sorted({*record.ended, member})
        self._tracker(record, member).close()
        self._save(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Notes why a member failed; the others go on."""
        record, member = self._record_of(trial), member_number(trial.trial_id)
        lines = [line.strip() for line in str(trial.get_error() or "").splitlines() if line.strip()]
        record.errors[str(member)] = lines[-1][:500] if lines else "it did not say why"
        logger.warning("member %d failed, and the others go on: %s", member, record.errors[str(member)])
        self._tracker(record, member).close("FAILED")
        self._save(record)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Ends the runs of members that were interrupted."""
        for tracker in self._trackers.values():
            tracker.close("KILLED")

    def _save(self, record: Record) -> None:
        """Writes the record, with the runs as they are now: a tracker whose run is gone opens another."""
        record.mlflow |= {str(member): t.run_id for member, t in self._trackers.items() if t.run_id}
        record.save()

    def _tracker(self, record: Record, member: int) -> Tracker:
        """The member's tracker, opened when it is first needed; params are what all members have in common."""
        if member not in self._trackers:
            common = flatten(self._config.model_dump(mode="json", by_alias=True, exclude={"search"}))
            directory = record.path.parent
            self._trackers[member] = open_tracker(
                self._config.train.tracker,
                self._config.tracking.experiment,
                {name: value for name, value in common.items() if name not in self._config.search.space},
                run_name=f"{directory.name}/member-{member}",
                tags={"member": str(member), "search": str(directory)},
                parent_run_id=record.mlflow.get("search"),
                run_id=record.mlflow.get(str(member)),
                uri=self._config.tracking.uri,
                keep=directory / f"untracked-member-{member}.jsonl",
            )
        return self._trackers[member]


def _is_metric(name: str, value: Any) -> bool:
    ours = name in ("fitness", "valid", "step", "rollouts", "n_soft_tokens") or name.startswith("fitness/")
    return ours and isinstance(value, int | float)
