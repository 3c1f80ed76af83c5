"""What the learner changes, and what it must not."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from distributed.checkpoint.manager import load_checkpoint, save_checkpoint
from distributed.checkpoint.serialization import pack
from distributed.errors import UserError
from distributed.learner.learner import Learner
from distributed.rollout.types import PromptState, RolloutRequest
from distributed.rollout.worker import RolloutWorker
from terrains.base import Terrain
from tests.accuracy import assert_both_accurate, assert_rounded
from tests.distributed.tiny_runs import config, instructions, worker_arguments
from tests.softprompt.exact import doubled, one_by_one

pytestmark = pytest.mark.arithmetic

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
    drawn = worker.generate(RolloutRequest(0, seed, groups), learner.snapshot().acting)
    # A random model seldom writes the letter it is paid for: every program gets a reward of its own instead.
    rewards = np.random.default_rng(seed).uniform(0.1, 2.0, drawn.rewards.shape)
    return [dataclasses.replace(drawn, rewards=rewards, fitness=rewards, failures=[[None]] * drawn.size)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_step_moves_only_the_prompts_of_terrains_that_had_programs_and_never_the_model(lm, estimator):
    before = {name: p.clone() for name, p in lm.model.state_dict().items()}
    learner, run = make(lm, method__estimator=estimator, method__advantage_shaping="none", method__replay_weight=0)
    start = learner.source.weight.detach().clone()
    stats = learner.update(rollouts(lm, run, learner, groups=((1, 12),)))
    assert torch.equal(learner.source.weight[0], start[0])
    assert not torch.equal(learner.source.weight[1], start[1])
    assert all(np.isfinite(value) for value in stats.values())
    assert all(torch.equal(before[name], p) for name, p in lm.model.state_dict().items())
    assert all(p.grad is None for p in lm.model.parameters())


def assert_the_ratio_is_one(learner, batch, known=None):
    """What the learner says of programs is what was said when they were drawn, both but for roundings the truth."""
    with torch.no_grad():
        own, _ = learner.policy.evaluate(batch.ids, batch.mask, batch.prompt, known)
        prompts, asked = (
            learner.policy.prompts(known)[batch.prompt],
            [learner.instructions[k][0] for k in batch.prompt],
        )
        exact, _ = one_by_one(doubled(learner.policy.model), prompts, asked, batch.ids, batch.mask)
    assert_both_accurate(own * batch.mask, batch.logprobs * batch.mask, exact)


@pytest.mark.parametrize("sampling", [{}, {"method__gen_kwargs__temperature": 1.5}, {"method__gen_kwargs__top_k": 20}])
def test_the_first_ratio_is_one_however_programs_were_sampled(lm, sampling):
    learner, run = make(lm, method__replay_weight=0, **sampling)
    batch, _ = learner._prepare(rollouts(lm, run, learner))
    assert_the_ratio_is_one(learner, batch)


def test_the_warm_start_makes_the_best_programs_likelier_and_counts_as_one_update(lm):
    learner, _ = make(lm, warm_start__steps=30)
    learner.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
    learner.elites.add(1, [9, 9, lm.eos_id], 2.0)
    nats = list(learner.warm_start())
    assert len(nats) == 30 and nats[-1] < 0.5 * nats[0]
    assert learner.version == 1


def test_prompts_are_born_from_the_tokens_of_the_best_program(lm):
    learner, run = make(lm, warm_start__steps=0, warm_start__init_from_elite=True)
    before = learner.prompt_state().prompts
    best = [5, 6, lm.eos_id]
    learner.elites.add(1, [9, 9, lm.eos_id], 2.0)
    learner.elites.add(1, best, 3.0)
    assert list(learner.warm_start()) == []
    prompts = learner.prompt_state().prompts
    tokens = [best[k % 3] for k in range(prompts.shape[1])]
    np.testing.assert_array_equal(prompts[1], lm.embedding[tokens].numpy())
    np.testing.assert_array_equal(prompts[0], before[0])


def test_replay_steps_pull_towards_the_best_program(lm):
    nats = []
    for steps in (0, 20):
        learner, run = make(lm, method__replay_steps=steps, method__replay_weight=0)
        learner.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
        learner.elites.add(1, [9, 9, lm.eos_id], 2.0)
        learner.update(rollouts(lm, run, learner))
        nats.append(learner.imitation.loss(learner.elites.batch(best=1)).item())
    assert nats[1] < 0.7 * nats[0]


def test_closing_teaches_each_terrain_its_single_best_program(lm):
    closed, mixed = (make(lm, method__closing_steps=40, method__replay_size=2)[0] for _ in range(2))
    for learner in (closed, mixed):
        learner.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
        learner.elites.add(0, [9, 9, lm.eos_id], 2.0)
    nats = list(closed.imitate_best())
    assert len(nats) == 40 and nats[-1] < 0.5 * nats[0] and closed.version == 1
    list(mixed.imitation.steps(2, 40, mixed.version))
    best, both = (closed.elites.batch(best=k) for k in (1, 2))
    assert closed.imitation.loss(best).item() < mixed.imitation.loss(best).item()
    assert closed.imitation.loss(both).item() > mixed.imitation.loss(both).item()


def test_an_empty_memory_of_best_programs_is_no_error(lm):
    learner, run = make(lm, method__replay_steps=2, method__closing_steps=2)
    start = learner.prompt_state().prompts
    assert list(learner.warm_start()) == [] and list(learner.imitate_best()) == []
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
    assert torch.equal(first.source.weight, second.source.weight)


def test_prompts_of_another_shape_are_refused(lm):
    state = make(lm)[0].state_dict()
    with pytest.raises(ValueError, match="another n_soft_tokens"):
        make(lm, method__n_soft_tokens=4)[0].load_state_dict(state)


def test_a_prompt_state_is_a_copy(lm):
    learner, _ = make(lm)
    state = learner.prompt_state()
    state.prompts[:] = 0
    assert isinstance(state, PromptState) and learner.source.weight.abs().sum() > 0


TERRAINS = [
    Terrain(name, "import math\n", np.array(profile, dtype=np.float32), name)
    for name, profile in (("a", [0, 0, 1, 2]), ("e", [1, 0, 0, 2]))
]
KINDS = {
    "ten": {"method__prompt_source": "ten", "ten__hidden": 16, "method__network_lr": 0.01},
    "ten with ids": {"method__prompt_source": "ten", "ten__terrain_id": True, "ten__id_dropout": 0.5},
    "residual": {"method__reparameterize": "residual", "method__residual_width": 8},
    "one layer": {"model__num_layers_unfrozen": 1, "method__unfrozen_lr": 0.01},
    "all layers": {"model__num_layers_unfrozen": -1},
    "scale by terrain": {"method__scale_reward": "terrain", "method__advantage_shaping": "log"},
    "value head's own rate": {"method__estimator": "gae", "method__value_lr": 0.003},
}


def make_kind(lm, kind, **settings):
    run = config(**KINDS[kind], **settings)
    return Learner(run, lm, instructions(lm), TERRAINS), run


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_trained_the_first_ratio_is_one_and_the_reference_stays(lm, kind):
    learner, run = make_kind(lm, kind, method__replay_weight=0)
    hashed = lm.hash
    for _ in range(3):
        data = rollouts(lm, run, learner)
        batch, _ = learner._prepare(data, learner.policy.known(learner.version))
        assert_the_ratio_is_one(learner, batch, learner.policy.known(learner.version))
        learner.update(data)
    assert lm.hash == hashed and all(p.grad is None for p in lm.model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_trained_a_restored_learner_goes_on_bit_for_bit(lm, kind, tmp_path):
    first, run = make_kind(lm, kind)
    data = rollouts(lm, run, first)
    first.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
    list(first.warm_start())
    first.update(data)
    saved = save_checkpoint(tmp_path, 1, first.state_dict())
    second, _ = make_kind(lm, kind)
    second.load_state_dict(load_checkpoint(saved).state)
    assert first.update(data) == second.update(data)
    assert first.prompt_state().prompts.tobytes() == second.prompt_state().prompts.tobytes()
    assert first.prompt_state().layers == second.prompt_state().layers


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_was_taken_stays_what_it_was_while_training_goes_on(lm, kind, tmp_path):
    learner, run = make_kind(lm, kind)
    data = rollouts(lm, run, learner)
    learner.update(data)
    state = learner.state_dict()
    before = copy.deepcopy(state)
    learner.update(data)
    left, right = (pack(each)[0] for each in (state, before))
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", ["one layer", "all layers"])
def test_an_unfrozen_policy_starts_as_the_reference_and_only_its_layers_change(lm, kind):
    learner, run = make_kind(lm, kind)
    data = rollouts(lm, run, learner)
    batch, info = learner._prepare(data)
    frozen, _ = make(lm)
    assert info == frozen._prepare(data)[1]  # the divergence is the prompt's alone, to the bit
    start = learner.prompt_state().layers
    learner.update(data)
    now = learner.prompt_state().layers
    assert now != start and now.arrays.keys() == start.arrays.keys()
    assert all(".1." in name for name in now.arrays) or kind == "all layers"
    reference = learner.policy.reference(batch.ids, batch.mask, batch.prompt)
    assert torch.equal(reference, batch.ref_logprobs)


def test_the_warm_start_leaves_unfrozen_layers_as_they_are(lm):
    learner, _ = make_kind(lm, "one layer", warm_start__steps=3)
    before = learner.prompt_state()
    learner.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
    list(learner.warm_start())
    after = learner.prompt_state()
    assert after.layers == before.layers and not np.array_equal(after.prompts, before.prompts)


def test_more_unfrozen_layers_than_the_model_has_is_a_line_that_names_the_setting(lm):
    with pytest.raises(UserError, match="model.num_layers_unfrozen: 5 layers are to be trained, and .* has 2"):
        make(lm, model__num_layers_unfrozen=5)


def test_a_network_learns_what_each_terrain_wants(lm):
    learner, _ = make_kind(lm, "ten", warm_start__steps=60)
    learner.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
    learner.elites.add(1, [9, 9, lm.eos_id], 2.0)
    start = learner.prompt_state().prompts
    assert np.array_equal(start[0], start[1])
    nats = list(learner.warm_start())
    assert nats[-1] < 0.5 * nats[0]
    assert not np.array_equal(*learner.prompt_state().prompts)


def test_exploring_hides_some_ids_from_the_network_and_acting_none(lm):
    learner, _ = make_kind(lm, "ten with ids", warm_start__steps=20)
    learner.elites.add(0, [5, 6, 7, lm.eos_id], 3.0)
    learner.elites.add(1, [9, 9, lm.eos_id], 2.0)
    list(learner.warm_start())
    seen = set()
    for learner.version in range(1, 30):
        snapshot = learner.snapshot()
        hidden = ~learner.policy.known(learner.version).numpy()
        differ = (snapshot.state.prompts != snapshot.acting.prompts).any(axis=(1, 2))
        np.testing.assert_array_equal(differ, hidden)
        seen.add(tuple(hidden))
    assert len(seen) == 4
    unseen = learner.network(snapshot).prompts_for(torch.tensor(TERRAINS[1].features)[None])
    assert unseen.shape == (1, 3, lm.d_model)


def test_groups_have_the_learning_rates_they_were_given(lm):
    learner, run = make_kind(lm, "ten", method__estimator="gae", method__value_lr=0.003, model__num_layers_unfrozen=1)
    stats = learner.update(rollouts(lm, run, learner))
    rates = [stats[f"learning_rate_group_{k}"] for k in range(4)]
    assert rates == [run.optimizer.kwargs.lr, 0.01, 0.003, 1e-4]


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_movement_are_reported_for_each_terrains_prompt(lm, kind):
    learner, run = make_kind(lm, kind, method__replay_weight=0)
    before = learner.prompt_state().prompts
    stats = learner.update(rollouts(lm, run, learner))
    after = learner.prompt_state().prompts
    for k in range(2):
        old, new = before[k].astype(np.float64), after[k].astype(np.float64)
        assert_rounded(stats[f"moved/{k}"], np.linalg.norm(new - old) / np.linalg.norm(old))
        assert stats[f"grad_norm/{k}"] > 0
        assert stats[f"reward_std/{k}"] > 0


@pytest.mark.parametrize("kind", ["table", "ten"])
def test_the_gradient_of_the_rewards_is_told_apart_from_that_of_replay(lm, kind):
    # One batch a step, so that all learners compute the gradient of rewards at the same place.
    once = {"method__ppo_epochs": 1, "train__batch_size": 12}
    of_kind = {"method__prompt_source": "ten", "ten__hidden": 8} if kind == "ten" else {}

    def learner_with(**settings):
        run = config(**once, **of_kind, **settings)
        return Learner(run, lm, instructions(lm), TERRAINS), run

    alone, run = learner_with(method__replay_weight=0)
    written = rollouts(lm, run, alone)
    rewarded = alone.update(written)
    assert not any(name.startswith("replay_grad_norm") for name in rewarded)
    elite = lm.tokenizer("aaa")["input_ids"]
    for settings in ({"method__replay_weight": 1.0}, {"method__replay_weight": 0, "method__replay_steps": 2}):
        learner, _ = learner_with(**settings)
        learner.elites.add(0, elite, 1.0)
        stats = learner.update(written)
        for k in range(2):
            assert stats[f"grad_norm/{k}"] == rewarded[f"grad_norm/{k}"] > 0
        assert stats["replay_grad_norm/0"] > 0
        # Terrain 1 has nothing to replay; a table's rows hear of it from nobody else's programs.
        assert kind == "ten" or stats["replay_grad_norm/1"] == 0


def test_states_of_another_kind_are_refused(lm):
    state = make_kind(lm, "residual")[0].state_dict()
    with pytest.raises(ValueError, match="another method.prompt_source"):
        make(lm)[0].load_state_dict(state)
    with pytest.raises(ValueError, match="another model.num_layers_unfrozen"):
        make_kind(lm, "one layer")[0].load_state_dict(make(lm)[0].state_dict())


def test_rewards_are_scaled_by_each_terrains_own_deviation_so_far(lm):
    learner, run = make(lm, method__scale_reward="terrain", method__cliprange_reward=None)
    rewards, terrain = torch.tensor([1.0, 3.0, 10.0, 30.0]), torch.tensor([0, 0, 1, 1])
    first = learner._scaling(rewards, terrain)
    assert_rounded(first, np.array([1, 3, 1, 3]) / 2**0.5)
    again = learner._scaling(torch.tensor([2.0, 2.0, 20.0, 20.0]), terrain)
    assert_rounded(again, [2 / (2 / 3) ** 0.5] * 4)  # the deviation of 1, 3, 2 and 2


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_step_may_learn_from_the_extremes_of_each_terrain_alone(lm, estimator):
    settings = {"method__estimator": estimator, "method__advantage_shaping": "none", "method__replay_weight": 0}
    learner, run = make(lm, method__down_sample_to=4, **settings)
    drawn = rollouts(lm, run, learner)
    rewards, terrain = drawn[0].rewards[:, 0], drawn[0].terrain
    batch, info = learner._prepare(drawn)
    extremes = sorted(
        own[f(rewards[own])] for k in (0, 1) for own in [np.flatnonzero(terrain == k)] for f in (np.argmin, np.argmax)
    )
    assert len(batch.ids) == 4 and batch.prompt.tolist() == terrain[extremes].tolist()
    for row, k in enumerate(extremes):
        assert batch.ids[row][batch.mask[row]].tolist() == drawn[0].ids[k][drawn[0].mask[k]].tolist()
    assert info["reward/mean"] == pytest.approx(rewards.mean()), "what is told is of all programs"
    assert all(np.isfinite(value) for value in learner.update(drawn).values())
    everything, _ = make(lm, method__down_sample_to=12, **settings)[0]._prepare(drawn)
    assert len(everything.ids) == 12


def test_evolution_prefers_the_side_whose_programs_score_more(lm):
    learner, run = make(lm, method__estimator="es", method__es_pairs=3, method__replay_steps=2)
    candidates = learner.candidates()
    assert len(candidates) == 6 and all(state.version == 0 for state in candidates)
    center = learner.prompt_state().prompts
    sides = (candidates[k].prompts.astype(np.float64) for k in (0, 3))
    assert_rounded(sum(sides), 2 * center)
    results = []
    for k in range(6):
        [drawn] = rollouts(lm, run, learner)
        rewards = np.where(drawn.terrain[:, None] == 0, float(k < 3), 1.0)  # terrain 1 has nothing to compare
        results.append([dataclasses.replace(drawn, rewards=rewards)])
    stats = learner.evolve(results)
    moved = learner.prompt_state().prompts - center
    towards = sum(state.prompts[0] - center[0] for state in candidates[:3])
    assert (moved[0] * towards).sum() > 0 and not moved[1].any()
    assert learner.version == 1 and stats["reward_std/0"] > 0 == stats["reward_std/1"]
    assert not np.array_equal(
        learner.candidates()[0].prompts - learner.prompt_state().prompts, candidates[0].prompts - center
    )
