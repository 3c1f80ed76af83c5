"""Who goes on in a population: failures, budgets, and processes that are kept. No language model here."""

from __future__ import annotations

import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from distributed.search.schedulers import Budget, FaultTolerantPBT, FirstMembers

MEMBERS, ROUNDS = 4, 5


class Counter(tune.Trainable):
    """A member that counts its rounds, and may fail in its third."""

    def setup(self, config: dict[str, Any]) -> None:
        self.config, self.count = config, 0

    def step(self) -> dict[str, Any]:
        time.sleep(0.3)
        self.count += 1
        if self.trial_id.endswith(self.config["fails"]) and self.count == 3:
            raise RuntimeError("no more of this")
        return {"fitness": self.config["a"] + self.count, "pid": os.getpid(), "done": self.count >= ROUNDS}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "count").write_text(str(self.count))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.count = int((Path(checkpoint) / "count").read_text())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True


class Rounds(tune.Callback):
    """Counts every round; Tune's own file of results can lack the last of those after which members change."""

    def __init__(self) -> None:
        self.made = 0

    def count(self) -> int:
        return self.made

    def on_trial_result(self, **_: Any) -> None:
        self.made += 1


def fit(folder: Path, fails: str, **options: Any) -> tune.ResultGrid:
    """Runs a population; the trial whose id ends with ``fails`` does."""
    first = [{"a": k} for k in range(MEMBERS)]
    scheduler = FaultTolerantPBT(
        2,
        time_attr="training_iteration",
        perturbation_interval=1,
        hyperparam_mutations={"a": list(range(MEMBERS))},
        synch=True,
    )
    return tune.Tuner(
        tune.with_resources(Counter, tune.PlacementGroupFactory([{"CPU": 1}])),
        param_space={"a": tune.choice([0]), "fails": fails},
        tune_config=tune.TuneConfig(
            metric="fitness",
            mode="max",
            num_samples=MEMBERS,
            search_alg=FirstMembers(points_to_evaluate=first),
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder), verbose=0, **options),
    ).fit()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_when_the_last_member_of_a_round_fails_the_others_go_on(tmp_path, local_ray):
    # Members take turns in the order of their numbers, so that the failing one ends its third round last.
    results = fit(tmp_path, fails=f"_0000{MEMBERS - 1}")
    assert results.num_errors == 1 and results.num_terminated == MEMBERS - 1
    assert [r.metrics["training_iteration"] for r in results if not r.error] == [ROUNDS] * (MEMBERS - 1)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_processes_outlive_the_members_they_were_started_for(tmp_path, local_ray):
    results = fit(tmp_path, fails="none")
    assert results.num_terminated == MEMBERS
    pids = {json.loads(line)["pid"] for file in tmp_path.glob("tune/*/result.json") for line in open(file)}
    assert len(pids) <= 2


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_budget_of_rounds_ends_a_search_without_a_hang(tmp_path, local_ray):
    rounds = Rounds()
    results = fit(tmp_path, fails="none", stop=Budget(MEMBERS * 2 + 1, rounds.count), callbacks=[rounds])
    assert MEMBERS * 2 < rounds.made <= MEMBERS * 2 + 2 and results.num_errors == 0


def test_a_budget_counts_what_it_is_told_and_stops_no_member_by_itself():
    rounds = Rounds()
    budget = pickle.loads(pickle.dumps([rounds, Budget(2, rounds.count)]))
    for made in range(3):
        budget[0].made = made
        assert not budget[1]("a", {}) and budget[1].stop_all() == (made >= 2)


def test_members_are_finished_when_none_is_at_work():
    members = FirstMembers(points_to_evaluate=[{"a": 1}])
    members.add_configurations(tune.Experiment("e", Counter, config={"a": tune.choice([1])}, num_samples=1))
    trial = members.next_trial()
    assert members.next_trial() is None and not members.is_finished()
    resumed = FirstMembers()
    resumed.set_state(members.get_state())
    assert resumed.is_finished()
    resumed.on_trial_result(trial.trial_id, {})
    assert not resumed.is_finished()
    members.on_trial_complete(trial.trial_id)
    resumed.set_finished()
    assert members.is_finished() and resumed.is_finished()
