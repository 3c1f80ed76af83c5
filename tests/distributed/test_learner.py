"""What the learner changes, and what it must not."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from distributed.learner import Learner
from distributed.messages import PromptState, RolloutRequest
from distributed.worker import RolloutWorker
from tests.distributed.tiny_runs import config, instructions, worker_arguments

ESTIMATORS = ("gae", "rloo", "grpo", "dr_grpo", "reinforce_pp")


@pytest.fixture(scope="module")
def lm(tiny_lm):
    return tiny_lm[0]


def make(lm, **settings):
    run = config(**settings)
    return Learner(run, lm, instructions(lm)), run


def rollouts(lm, run, learner, groups=((0, 6), (1, 6)), seed=3):
    small, shared = worker_arguments(run, lm)
    worker = RolloutWorker(**small, **shared)
    drawn = worker.generate(RolloutRequest(0, seed, groups), learner.prompt_state())
    # A random model seldom writes the letter it is paid for: every program gets a reward of its own instead.
    rewards = np.random.default_rng(seed).uniform(0.1, 2.0, drawn.rewards.shape)
    return [dataclasses.replace(drawn, rewards=rewards, fitness=rewards, failures=[[None]] * drawn.size)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_step_moves_only_the_prompts_of_terrains_that_had_programs_and_never_the_model(lm, estimator):
    before = {name: p.clone() for name, p in lm.model.state_dict().items()}
    learner, run = make(lm, method__estimator=estimator, method__advantage_shaping="none", method__replay_weight=0)
    start = learner.table.weight.detach().clone()
    stats = learner.update(rollouts(lm, run, learner, groups=((1, 12),)))
    assert torch.equal(learner.table.weight[0], start[0])
    assert not torch.equal(learner.table.weight[1], start[1])
    assert all(np.isfinite(value) for value in stats.values())
    assert all(torch.equal(before[name], p) for name, p in lm.model.state_dict().items())
    assert all(p.grad is None for p in lm.model.parameters())


@pytest.mark.parametrize("sampling", [{}, {"method__gen_kwargs__temperature": 1.5}, {"method__gen_kwargs__top_k": 20}])
def test_the_first_ratio_is_one_however_programs_were_sampled(lm, sampling):
    learner, run = make(lm, method__replay_weight=0, **sampling)
    batch, _ = learner._prepare(rollouts(lm, run, learner))
    logprobs, _ = learner._evaluate(batch.ids, batch.mask, batch.terrain)
    torch.testing.assert_close(logprobs * batch.mask, batch.logprobs * batch.mask, atol=1e-4, rtol=1e-4)


def test_the_warm_start_makes_the_best_programs_likelier_and_counts_as_one_update(lm):
    learner, _ = make(lm, warm_start__steps=30)
    learner.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
    learner.elites.add(1, [9, 9, lm.eos_id], 2.0)
    nats = list(learner.warm_start())
    assert len(nats) == 30 and nats[-1] < 0.5 * nats[0]
    assert learner.version == 1


def test_replay_steps_pull_towards_the_best_program(lm):
    nats = []
    for steps in (0, 20):
        learner, run = make(lm, method__replay_steps=steps, method__replay_weight=0)
        learner.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
        learner.elites.add(1, [9, 9, lm.eos_id], 2.0)
        learner.update(rollouts(lm, run, learner))
        nats.append(learner._imitation(learner.elites.batch(best=1)).item())
    assert nats[1] < 0.7 * nats[0]


def test_an_empty_memory_of_best_programs_is_no_error(lm):
    learner, run = make(lm, method__replay_steps=2)
    start = learner.prompt_state().prompts
    assert list(learner.warm_start()) == []
    np.testing.assert_array_equal(learner.prompt_state().prompts, start)


@pytest.mark.parametrize("estimator", ["gae", "rloo"])
def test_a_restored_learner_updates_bit_for_bit_like_the_one_that_was_saved(lm, estimator):
    first, run = make(lm, method__estimator=estimator, scheduler__name="cosine_annealing")
    data = rollouts(lm, run, first)
    first.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
    first.update(data)
    second, _ = make(lm, method__estimator=estimator, scheduler__name="cosine_annealing")
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    stats = [learner.update(data) for learner in (first, second)]
    assert stats[0] == stats[1]
    assert torch.equal(first.table.weight, second.table.weight)


def test_prompts_of_another_shape_are_refused(lm):
    state = make(lm)[0].state_dict()
    with pytest.raises(ValueError, match="another n_soft_tokens"):
        make(lm, method__n_soft_tokens=4)[0].load_state_dict(state)


def test_a_prompt_state_is_a_copy(lm):
    learner, _ = make(lm)
    state = learner.prompt_state()
    state.prompts[:] = 0
    assert isinstance(state, PromptState) and learner.table.weight.abs().sum() > 0
