"""Which members go on: population-based training, successive halving, or all of them, as schedulers of Tune's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Checkpoint, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from distributed.config import RunConfig
from distributed.search.space import explore, mutations

TIME = "training_iteration"


class FaultTolerantPBT(PopulationBasedTraining):
    """Tune's population-based training, made to go on when a member fails, and to keep its processes.

    In Tune's own, synchronous members wait for the last one of a round, and wait for ever if that one fails. While they
    wait, Tune ends all processes but one, and those that are started later have to load the language model again.
    """

    def __init__(self, slots: int, **options: Any) -> None:
        """Takes how many members have room at once, and Tune's own arguments."""
        super().__init__(**options)
        self._slots: int | None = slots

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Lets Tune keep as many idle processes as there is room for; all of them can serve any member."""
        super().on_trial_add(tune_controller, trial)
        _point_at_this_folder(trial)
        if self._slots is not None:
            controller = getattr(tune_controller, "_tune_controller", tune_controller)
            controller._actor_cache.increase_max(trial.placement_group_factory, by=self._slots)
            self._slots = None

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Lets the next member run; where all that live wait for one that has failed, ends the round first."""
        chosen = super().choose_trial_to_run(tune_controller)
        if chosen is None and self._synch and self._all_wait(tune_controller):
            self._end_round(tune_controller)
            chosen = super().choose_trial_to_run(tune_controller)
        return chosen

    def _all_wait(self, tune_controller: Any) -> bool:
        # Tune counts a member that failed among those that live, and waits for it in every round to come.
        at_work = [trial for trial in tune_controller.get_live_trials() if not trial.is_finished()]
        return bool(at_work) and all(trial.status == Trial.PAUSED for trial in at_work)

    def _end_round(self, tune_controller: Any) -> None:
        """What Tune does when the last member of a round reports."""
        lower, upper = self._quantiles()
        others = [t for t in tune_controller.get_trials() if t not in lower and t not in upper]
        for trial in [*upper, *others, *lower]:
            self._trial_state[trial].last_perturbation_time = int(self._next_perturbation_sync)
            self._checkpoint_or_exploit(trial, tune_controller, upper, lower)
        times = [state.last_train_time for state in self._trial_state.values()]
        self._next_perturbation_sync = int(max(self._next_perturbation_sync + self._perturbation_interval, *times))


class FirstMembers(BasicVariantGenerator):
    """Tune's source of trials, from settings that are given.

    Tune's own is finished once the last trial has begun, and Tune then ends every idle process, although all trials
    need one after the scheduler's next decision. This one is finished only when its trials are.
    """

    def is_finished(self) -> bool:
        """Whether no member is still at work, and none is to come."""
        return self._finished and not self._live_trials

    def next_trial(self) -> Trial | None:
        """The next member, None when there is none."""
        return None if self._finished else super().next_trial()

    def set_finished(self) -> None:
        """Notes that no member is to come; a second call, which Tune makes to stop all, that none is at work either."""
        if self._finished:
            self._live_trials.clear()
        super().set_finished()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Notes that a member is at work; after a resume, members are known once they report."""
        self._live_trials.add(trial_id)

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a search that was interrupted."""
        super().set_state(state)
        if self._finished:
            self._live_trials = set()


class Budget(Stopper):
    """Ends the search when its members have made so many rounds together, those before an interruption included."""

    def __init__(self, total: int, made: Callable[[], int]) -> None:
        """Takes the number of rounds, and what says how many there are; both are pickled with the search."""
        self._total, self._made = total, made

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No member is stopped by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether the rounds are used up."""
        return self._made() >= self._total


def rounds_of_a_run(config: RunConfig) -> int:
    """Rounds that a member makes if nothing stops it."""
    return rounds_until(config.train.total_steps, config)


def rounds_until(step: int, config: RunConfig) -> int:
    """Rounds that a member has made when it is at a step."""
    return -(-step // config.search.interval)


def _point_at_this_folder(trial: Trial) -> None:
    """Lets a member of a search that was copied or moved go on from the checkpoint beside it.

    Tune corrects the path of a member's own checkpoint, but not of another's that the member has just taken over.
    """
    held, here = trial.latest_checkpoint_result, trial.storage and Path(trial.storage.experiment_fs_path)
    if held and held.checkpoint and here and not Path(held.checkpoint.path).is_relative_to(here):
        path = here.joinpath(*Path(held.checkpoint.path).parts[-2:])
        held.checkpoint = Checkpoint(str(path), held.checkpoint.filesystem)


def make_scheduler(config: RunConfig, slots: int) -> TrialScheduler:
    """Returns the scheduler that the configuration names.

    Args:
        config: settings of the search.
        slots: how many members the cluster has room for at a time.
    """
    search = config.search
    if search.algorithm == "pbt":
        return FaultTolerantPBT(
            slots,
            time_attr=TIME,
            perturbation_interval=1,
            hyperparam_mutations=mutations(search.space),
            quantile_fraction=search.quantile,
            resample_probability=search.resample,
            custom_explore_fn=explore(search.space),
            synch=search.synch,
        )
    if search.algorithm == "asha":
        return ASHAScheduler(time_attr=TIME, max_t=rounds_of_a_run(config), reduction_factor=search.reduction)
    return FIFOScheduler()
