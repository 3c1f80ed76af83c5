"""Members compared by how varied their programs are: what is measured, who is ranked first, what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ray.train._internal.storage import StorageContext
from ray.tune import Trainable
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from rich.console import Console

from distributed.checkpoint.manager import save_checkpoint
from distributed.errors import UserError
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.worker import RolloutWorker
from distributed.search.checkpoints import best_of
from distributed.search.family_tree import draw_family_tree
from distributed.search.lineage import Record
from distributed.search.member import evaluation_set
from distributed.search.objective import check_objective, front, rank, standings
from distributed.search.summary import print_summary, summarise
from distributed.search.tuner import make_tuner
from tests.distributed.docs import documented
from tests.distributed.finished_runs import main_exit
from tests.distributed.tiny_runs import LETTERS, worker_arguments
from tests.distributed.tiny_search import FIRST, member_of, population, search_config
from tests.distributed.tiny_workers import INSTRUCTION, LetterWorld

REACHED = [(9.0, 0.1, 1.0), (7.0, 0.4, 3.0), (5.0, 0.3, 2.0), (1.0, 0.9, 2.0)]
"""Fitness, share of unique programs and cells of four members; the fitter, the less varied, but for one."""


def results() -> list[dict]:
    return [{"fitness": f, "unique": u, "cells": c, "training_iteration": 1, "settings": FIRST} for f, u, c in REACHED]


def filled(path: Path) -> Record:
    record = Record(path)
    for k, (fitness, unique, cells) in enumerate(REACHED):
        figures = {"unique": unique, "cells": cells}
        entry = {"member": k, "round": 1, "step": 2, "fitness": fitness, "variety": figures, "settings": FIRST}
        record.add({**entry, "trained_on": 10, "by_terrain": {}}, None)
    return record


def test_a_round_reports_how_varied_the_programs_of_the_evaluation_set_are(tiny_lm):
    torch.set_num_threads(1)
    lm = tiny_lm[0]
    people = replace(population(search_config(), lm), niches=LetterWorld.niches)
    member = member_of(people, lm)
    metrics = member.round()
    pool = LocalPool(RolloutWorker, *worker_arguments(people.config, lm))
    drawn = pool.run(evaluation_set(people.config, people.tasks), member.loop.learner.prompt_state())
    unique, best = [], []
    for k, letter in enumerate(LETTERS):
        texts = [r.programs[i].removeprefix(INSTRUCTION) for r in drawn for i in np.flatnonzero(r.terrain == k)]
        assert len(texts) == people.config.search.evaluation_samples
        unique.append(len(set(texts)) / len(texts))
        kinds: dict[tuple[int, int], float] = {}
        for text in texts:
            place = min(text.count("a") // 2, 3), min(text.count("e") // 2, 3)
            kinds[place] = max(kinds.get(place, 0.0), text.count(letter) / 2)
        best.append(sum(kinds.values()))
    assert metrics["unique"] == pytest.approx(np.mean(unique)) and metrics["qd_score"] == pytest.approx(np.mean(best))
    assert {"distinct", "unique_mean", "entropy", "cells"} <= metrics.keys()
    again = member_of(people, lm)
    again.load_state_dict(member.state_dict())
    assert again.variety == member.variety == {name: metrics[name] for name in member.variety}


def test_a_world_without_descriptors_reports_what_it_has(tiny_lm):
    torch.set_num_threads(1)
    member = member_of(population(search_config(), tiny_lm[0]), tiny_lm[0])
    metrics = member.round()
    assert set(member.variety) == {"unique", "distinct", "unique_mean", "entropy"} and "cells" not in metrics


@pytest.mark.parametrize(("objective", "best"), [("fitness", 0), ("unique", 3), ("cells", 1)])
def test_the_best_member_is_the_first_by_the_objective(tmp_path, objective, best):
    for k, (fitness, unique, cells) in enumerate(REACHED):
        state = {"member": k, "fitness": np.array([fitness]), "variety": {"unique": unique, "cells": cells}}
        save_checkpoint(tmp_path / f"member-{k:02d}" / "checkpoint_000000", 1, state)
    assert best_of(tmp_path, [objective]).state["member"] == best


class Idle(Trainable):
    """A trainable for a search that is not run."""


def scheduled(tmp_path: Path, algorithm: str, objective: str) -> tuple[TrialScheduler, list[Trial]]:
    """A search's scheduler as Tune sets it up, and members that are at work."""
    config = search_config(search__algorithm=algorithm, search__objective=objective, search__reduction=2.0)
    tuning = make_tuner(config, tmp_path, Idle, slots=1)._local_tuner._tune_config
    scheduler = tuning.scheduler
    assert scheduler.set_search_properties(tuning.metric, tuning.mode)
    storage = StorageContext(storage_path=str(tmp_path), experiment_dir_name="tune")
    trials = [Trial("x", config=dict(FIRST), trial_id=f"a_{k:05d}", stub=True, storage=storage) for k in range(4)]
    return scheduler, trials


@pytest.mark.parametrize(("objective", "order"), [("fitness", [3, 2, 1, 0]), ("unique", [0, 2, 1, 3])])
def test_population_based_training_copies_the_best_by_the_objective(tmp_path, objective, order):
    scheduler, trials = scheduled(tmp_path, "pbt", objective)
    scheduler._slots = None  # there are no processes to keep
    for trial, result in zip(trials, results(), strict=True):
        scheduler.on_trial_add(SimpleNamespace(search_alg=None), trial)
        scheduler._save_trial_state(scheduler._trial_state[trial], 1, result, trial)
    lower, upper = scheduler._quantiles()
    assert (lower, upper) == ([trials[order[0]]], [trials[order[-1]]])


@pytest.mark.parametrize(("objective", "goes_on"), [("fitness", False), ("unique", True)])
def test_halving_lets_the_best_by_the_objective_go_on(tmp_path, objective, goes_on):
    scheduler, trials = scheduled(tmp_path, "asha", objective)
    decisions = []
    for trial, result in zip(trials, results(), strict=True):
        scheduler.on_trial_add(None, trial)
        decisions.append(scheduler.on_trial_result(None, trial, result))
    assert decisions[0] == TrialScheduler.CONTINUE, "there is nothing to compare the first with"
    assert (decisions[-1] == TrialScheduler.CONTINUE) == goes_on


def test_where_the_first_objective_is_equal_the_next_decides_and_at_last_fitness():
    rows = [{"fitness": f, "variety": {"unique": u, "cells": c}} for f, u, c in REACHED]
    assert max(rows[2:], key=lambda row: rank(row, ["cells"])) is rows[2]
    assert max(rows[2:], key=lambda row: rank(row, ["cells", "unique"])) is rows[3]


def test_no_other_beats_a_round_of_the_front():
    rounds = [{"fitness": f, "variety": {"unique": u}} for f, u, _ in REACHED]
    assert front(rounds, ["fitness", "unique"]) == [rounds[0], rounds[1], rounds[3]]
    assert front([*rounds, dict(rounds[0])], ["fitness", "unique"]) == [rounds[0], rounds[1], rounds[3]]
    assert front(rounds, ["unique"]) == [rounds[3]]


def test_what_a_search_found_is_told_by_its_objectives(tmp_path):
    record = filled(tmp_path / "lineage.json")
    config = search_config(search__objective=["unique", "fitness"])
    best = {"member": 3, "loop": {"step": 2}, "fitness": np.array([1.0, 1.0]), "settings": FIRST}
    summary = summarise(config, record, LETTERS, best | {"variety": {"unique": 0.9, "cells": 2.0}}, 1.0)
    assert json.loads(json.dumps(summary)) == summary and summary["objective"] == ["unique", "fitness"]
    assert summary["best"]["variety"] == {"unique": 0.9, "cells": 2.0}
    assert [each["member"] for each in summary["front"]] == [0, 1, 3]
    assert summary["final_variety"]["1"] == {"unique": 0.4, "cells": 3.0}
    lines: list[str] = []
    print_summary(summary, record, tmp_path, lines.append)
    assert any(line.startswith("best     member 3 at step 2, unique 90%, fitness 1.0: ") for line in lines)
    assert any("member 1 at step 2 (40%, 7.0)" in line for line in lines)
    console = Console(width=120, record=True, file=StringIO())
    console.print(standings(record, config.search.objective))
    rows = [line.split() for line in console.export_text().splitlines()]
    assert [row for row in rows if row and row[0].isdigit()] == [
        ["3", "2", "1.0", "90%", "2.0"], ["1", "2", "7.0", "40%", "3.0"],
        ["2", "2", "5.0", "30%", "2.0"], ["0", "2", "9.0", "10%", "1.0"],
    ]  # fmt: skip
    picture = draw_family_tree(record, tmp_path / "tree.png", "units", ["unique"]).read_bytes()
    assert picture != draw_family_tree(record, tmp_path / "other.png", "units").read_bytes()


def test_by_fitness_alone_a_search_has_no_front(tmp_path):
    best = {"member": 0, "loop": {"step": 2}, "fitness": np.array([9.0, 9.0]), "settings": FIRST}
    summary = summarise(search_config(), filled(tmp_path / "lineage.json"), LETTERS, best, 1.0)
    assert "front" not in summary and summary["objective"] == ["fitness"]


def test_an_objective_that_the_world_cannot_give_is_one_line_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    documented("rewards.md", tmp_path / "files")
    config = str(tmp_path / "files" / "letters.yml")
    missing = f"model.model_path={tmp_path / 'no-model'}"
    assert main_exit("search", "--config", config, missing, "search.objective=[fitness, cells]") == 2
    error = capsys.readouterr().err
    assert "search.objective: cells needs descriptors, and the world functions has no niches" in error
    assert error.count("\n") == 1 and not (tmp_path / "runs").exists()
    check_objective(search_config(search__objective="cells"), LetterWorld.niches)
    check_objective(search_config(search__objective="unique_mean"), None)


@pytest.mark.parametrize(
    ("objective", "said"),
    [("uniqe", "search.objective"), (["unique", "unique"], "names one of them twice"), ([], "search.objective")],
)
def test_objectives_that_are_none_are_one_line(objective, said):
    with pytest.raises(UserError, match=said) as error:
        search_config(search__objective=objective)
    assert "\n" not in str(error.value)
