"""Who learns what: one prompt the programs that settings name, several prompts one each, of a cell of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distributed.learner.learner import Learner
from distributed.learner.teachers import Teachers
from distributed.rollout.types import RolloutRequest
from distributed.rollout.worker import RolloutWorker
from softprompt.rl.archive import CellElite
from terrains.niches import Niches
from tests.distributed.tiny_runs import config, instructions, worker_arguments
from tests.distributed.tiny_workers import LetterWorld

GRID = Niches(names=("x",), cells=(10,), low=(0,), high=(10,))


def elite(cell, fitness, origin=-1):
    return CellElite((cell, 99), fitness, 0, cell, (cell + 0.5,), origin)


def teachers(n_terrains=1, **settings):
    return Teachers(config(**{f"method__{name}": value for name, value in settings.items()}), n_terrains, GRID)


def filled(found, *elites, terrain=0):
    for each in elites:
        found.archive.add(terrain, each)
        found.elites.add(terrain, each.ids, each.fitness)
    return found


@pytest.mark.parametrize(("by", "cells"), [("best", [3, 4]), ("cells", [3, 4]), ("spread", [3, 9])])
def test_one_prompt_learns_the_best_of_all_of_cells_or_of_far_cells(by, cells):
    found = filled(teachers(replay_from=by, replay_size=2), elite(3, 9.0), elite(4, 8.0), elite(9, 7.0), elite(0, 1.0))
    assert found.batch(2).ids[:, 0].tolist() == cells


def test_what_is_below_the_bar_is_not_learnt():
    found = filled(teachers(replay_from="cells", replay_bar=0.8), elite(3, 9.0), elite(4, 8.0), elite(9, 7.0))
    assert found.batch(5).ids[:, 0].tolist() == [3, 4]


def test_each_of_several_prompts_owns_a_cell_and_learns_its_best():
    found = filled(teachers(prompts_per_terrain=2), elite(3, 9.0), elite(4, 8.0), elite(9, 7.0))
    rows = torch.zeros(2, 1, 1)
    assert found.settle(rows, []) == 2 and found.owned == [3, 4]
    batch = found.batch(1)
    assert batch.prompt.tolist() == [0, 1] and batch.ids[:, 0].tolist() == [3, 4]


def test_a_prompt_keeps_its_cell_while_it_is_wanted_and_else_is_born_from_the_one_that_wrote_the_new_elite():
    found = filled(teachers(prompts_per_terrain=3), elite(3, 9.0), elite(4, 8.0), elite(5, 7.0))
    rows = torch.arange(3.0)[:, None, None].repeat(1, 2, 2)
    moments = torch.ones_like(rows)
    found.settle(rows, [moments])
    assert rows[:, 0, 0].tolist() == [0, 1, 2] and (moments == 1).all(), "no prompt wrote them"
    filled(found, elite(9, 10.0, origin=1), elite(4, 8.5, origin=0))
    assert found.settle(rows, [moments]) == 1
    assert found.owned == [3, 4, 9]
    assert rows[:, 0, 0].tolist() == [0, 1, 1] and moments[:, 0, 0].tolist() == [1, 1, 0]
    assert found.batch(1).fitness.tolist() == [9.0, 8.5, 10.0]
    assert found.settle(rows, [moments]) == 0


def test_births_of_one_time_copy_what_was_before_all_of_them():
    found = filled(teachers(prompts_per_terrain=2), elite(3, 1.0), elite(4, 1.0))
    rows = torch.tensor([1.0, 2.0])[:, None, None]
    found.settle(rows, [])
    filled(found, elite(7, 10.0, origin=1), elite(8, 9.0, origin=0))
    assert found.settle(rows, []) == 2
    assert rows.flatten().tolist() == [2.0, 1.0]


def test_terrains_own_cells_by_themselves_and_prompts_without_one_learn_nothing():
    found = filled(teachers(n_terrains=2, prompts_per_terrain=2), elite(3, 9.0), terrain=1)
    found.settle(torch.zeros(4, 1, 1), [])
    assert found.owned == [-1, -1, 3, 3]
    assert found.batch(1).prompt.tolist() == [2, 3]


def test_prompts_share_cells_while_there_are_fewer_and_give_way_to_new_ones():
    found = filled(teachers(prompts_per_terrain=5), elite(3, 9.0), elite(4, 8.0))
    rows = torch.arange(5.0)[:, None, None].clone()
    assert found.settle(rows, []) == 5 and found.owned == [3, 4, 3, 4, 3]
    assert found.settle(rows, []) == 0
    filled(found, elite(5, 7.0, origin=1))
    assert found.settle(rows, []) == 1 and found.owned == [3, 4, 5, 4, 3]
    assert rows.flatten().tolist() == [0, 1, 1, 3, 4]
    filled(found, elite(7, 15.0), elite(8, 14.0), elite(9, 13.0))
    assert found.settle(rows, []) == 3 and found.owned == [3, 4, 7, 8, 9], "the bar has risen above cell 5"


def test_its_state_continues():
    one, other = (teachers(prompts_per_terrain=2) for _ in range(2))
    filled(one, elite(3, 9.0), elite(4, 8.0)).settle(torch.zeros(2, 1, 1), [])
    other.load_state_dict(one.elites.state_dict(), one.state_dict())
    assert other.owned == one.owned and other.batch(1).ids.tolist() == one.batch(1).ids.tolist()
    older = teachers()
    older.load_state_dict(one.elites.state_dict(), None)
    assert len(older) == len(one.elites)


@pytest.fixture(scope="module")
def lm(tiny_lm):
    return tiny_lm[0]


def test_a_step_moves_the_prompts_that_wrote_programs_and_learns_behind_each_its_own(lm):
    run = config(method__prompts_per_terrain=3, method__replay_weight=0)
    learner = Learner(run, lm, instructions(lm), niches=LetterWorld.niches)
    assert learner.source.rows.shape[0] == 6
    small, shared = worker_arguments(run, lm)
    worker = RolloutWorker(**small, **shared)
    request = RolloutRequest(0, 3, ((0, 4), (1, 4), (1, 4)), slots=(2, 0, 1))
    drawn = worker.generate(request, learner.snapshot().acting)
    assert drawn.prompt.tolist() == [2] * 4 + [3] * 4 + [4] * 4
    rewards = np.random.default_rng(0).uniform(0.1, 2.0, drawn.rewards.shape)
    object.__setattr__(drawn, "rewards", rewards)
    object.__setattr__(drawn, "failures", [[None]] * 12)
    before = learner.source.rows.detach().clone()
    stats = learner.update([drawn])
    moved = (learner.source.rows.detach() != before).flatten(1).any(dim=1)
    assert moved.tolist() == [False, False, True, True, True, False]
    assert {"drift/0", "drift/1"} <= set(stats) and "drift/2" not in stats


def test_programs_behind_a_slot_are_those_of_its_prompt_alone(lm):
    run = config(method__prompts_per_terrain=2)
    small, shared = worker_arguments(run, lm)
    worker = RolloutWorker(**small, **shared)
    learner = Learner(run, lm, instructions(lm), niches=LetterWorld.niches)
    state = learner.snapshot().acting
    alone = type(state)(0, state.prompts[[1, 3]])
    both = worker.generate(RolloutRequest(0, 5, ((0, 3), (1, 3)), slots=(1, 1)), state)
    one = worker.generate(RolloutRequest(0, 5, ((0, 3), (1, 3))), alone)
    np.testing.assert_array_equal(both.ids, one.ids)


def nats(learner):
    """What each prompt's own program costs behind it, and which prompt that is."""
    batch = learner.teachers.batch(1)
    with torch.no_grad():
        logprobs, _ = learner.policy.evaluate(batch.ids, batch.mask, batch.prompt, None, batch.instruction)
    return batch.prompt, -(logprobs * batch.mask).sum(1)


def with_two_elites(lm, **settings):
    run = config(method__prompts_per_terrain=2, **{f"method__{name}": value for name, value in settings.items()})
    learner = Learner(run, lm, instructions(lm), niches=LetterWorld.niches)
    for cell, ids in ((0, (5, 6, 7, 8)), (1, (9, 10))):
        learner.teachers.archive.add(0, CellElite(ids, 2.0, 0, cell, (float(cell),)))
        learner.elites.add(0, ids, 2.0)
    learner.teachers.settle(learner.source.rows.data, [])
    return learner


def test_a_prompt_that_knows_its_program_rests_and_the_others_learn_on(lm):
    prompts, before = nats(with_two_elites(lm))
    assert prompts.tolist() == [0, 1] and before[0] > before[1] + 1
    between = float(before.mean())
    learner = with_two_elites(lm, prompt_rests_at=between, closing_rests_at=between, closing_steps=3)
    start = learner.source.rows.detach().clone()
    assert len(list(learner.imitation.steps(1, 2, 0))) == 2
    moved = (learner.source.rows.detach() != start).flatten(1).any(dim=1)
    assert moved.tolist() == [True, False, False, False]
    assert nats(learner)[1][0] < before[0]
    list(learner.imitate_best())
    assert torch.equal(learner.source.rows[1].detach(), start[1])


def test_where_all_prompts_rest_no_step_is_made_and_closing_has_a_bar_of_its_own(lm):
    learner = with_two_elites(lm, prompt_rests_at=1e6, closing_steps=3)
    start = learner.source.rows.detach().clone()
    assert list(learner.imitation.steps(1, 4, 0)) == []
    assert torch.equal(learner.source.rows.detach(), start)
    before = nats(learner)[1]
    assert len(list(learner.imitate_best())) == 3
    assert (nats(learner)[1] < before).all()
