"""What is said to make no difference makes none, bit for bit, when it is computed; what does is told apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from distributed.config.load import with_settings
from distributed.errors import UserError
from distributed.learner.learner import Learner
from distributed.rollout.types import RolloutRequest
from distributed.rollout.worker import RolloutWorker
from distributed.search.effects import IDLE, effective
from distributed.search.space import check_space
from softprompt.rl.archive import CellElite
from tests.distributed.search.test_space import search
from tests.distributed.tiny_runs import LETTERS, config, instructions, loop_of, worker_arguments
from tests.distributed.tiny_workers import LetterWorld

Settings = dict[str, Any]

RANKS = {"method.advantage_shaping": "rank"}
ES = {"method.estimator": "es", "method.es_pairs": 2, "method.replay_steps": 1, "method.num_rollouts": 16}
TEN = {
    "ten.body": ("mlp", "conv"), "ten.hidden": (8, 16), "ten.layers": (1, 2), "ten.terrain_id": (True, False),
    "ten.id_dropout": (0.0, 0.5),
}  # fmt: skip

NOTHING: list[tuple[Settings, dict[str, tuple[Any, Any]]]] = [
    (
        {"method.estimator": "rloo"},
        {
            "method.lam": (0.1, 0.9), "method.gamma": (0.5, 1.0), "method.cliprange_value": (0.1, 0.3),
            "method.vf_coef": (0.0, 2.0), "method.value_lr": (None, 0.3), "method.es_pairs": (2, 3),
            "method.es_noise": (0.1, 0.2),
        },
    ),
    ({"method.advantage_shaping": "rank"}, {"method.log_unit": (0.1, 5.0)}),
    ({"method.replay_weight": 0, "method.replay_steps": 0}, {"method.replay_size": (1, 3)}),
    ({"method.scale_reward": "running"}, {"method.ref_mean": (None, 3.0), "method.ref_std": (None, 2.0)}),
    ({"method.target": None}, {"method.horizon": (10, 1000)}),
    (
        {"method.init_kl_coef": 0.0},
        {"method.target": (None, 0.001), "method.horizon": (10, 1000), "method.kl_in": ("reward", "loss")},
    ),
    (
        {"method.initialize_from": "text: import math", "search.space": {"optimizer.kwargs.lr": [0.1]}},
        {"method.initialize_from_vocab": (True, False)},
    ),
    (
        {"method.prompt_source": "table", "method.reparameterize": "none"},
        {"method.residual_width": (4, 8), "method.network_lr": (0.001, 0.1), **TEN},
    ),
    (
        {"method.prompt_source": "ten", "ten.hidden": 8, "ten.terrain_id": False},
        {"ten.id_dropout": (0.0, 0.5), "method.residual_width": (4, 8)},
    ),
    ({"model.num_layers_unfrozen": 0}, {"method.unfrozen_lr": (None, 0.5)}),
    ({"warm_start.steps": 0}, {"warm_start.elites": (1, 3), "warm_start.elites_per_step": (1, 2)}),
    ({"warm_start.steps": 0}, {"warm_start.lr": (0.01, 0.5)}),
    ({}, {"method.measure_soft_embedding_drift": (True, False), "method.tune_v_head": (True, False)}),
    ({"method.repeat_discount": 1.0}, {"method.unique_rate": (0.5, 2.0)}),
    ({}, {"method.repeats_by": ("outcome", "cell")}),
    ({}, {"method.novelty_neighbours": (1, 5), "method.prompt_rests_at": (0.0, 9.0), "method.replay_bar": (0.1, 0.9)}),
    ({"method.prompts_per_terrain": 2}, {"method.replay_size": (1, 3), "warm_start.elites": (1, 3)}),
    ({"method.prompts_per_terrain": 2}, {"warm_start.elites_per_step": (1, 2)}),
    ({"method.closing_steps": 2}, {"method.closing_rests_at": (0.0, 9.0)}),
    (RANKS, {"method.estimator": ("rloo", "grpo")}),
    (RANKS, {"method.estimator": ("rloo", "reinforce_pp")}),
    ({"method.estimator": "gae"}, {"method.advantage_shaping": ("rank", "none")}),
    ({}, {"method.scale_reward": ("ignored", None)}),
    ({}, {"method.scale_reward": ("ignored", False)}),
    ({"method.scale_reward": "running"}, {"method.cliprange_reward": (0, None)}),
    ({}, {"train.batch_size": (12, 400)}),
    ({"train.batch_size": 8}, {"train.minibatch_size": (None, 8)}),
    (
        {"optimizer.name": "adamw"},
        {"optimizer.kwargs.weight_decay": (None, 0.01), "optimizer.kwargs.eps": (None, 1e-8)},
    ),
    ({"optimizer.name": "sgd"}, {"optimizer.kwargs.momentum": (None, 0.0)}),
    ({"scheduler.name": "linear"}, {"scheduler.kwargs.start_factor": (None, 1 / 3)}),
]  # fmt: skip
"""Settings, and what makes no difference beside them: two values of each."""

PLAIN: Settings = {"method.advantage_shaping": "none"}
SOMETHING: list[tuple[Settings, str, tuple[Any, Any]]] = [
    (RANKS, "method.estimator", ("rloo", "dr_grpo")),
    (RANKS, "method.estimator", ("rloo", "gae")),
    ({"method.advantage_shaping": "none"}, "method.estimator", ("rloo", "grpo")),
    ({"method.advantage_shaping": "none"}, "method.estimator", ("grpo", "reinforce_pp")),
    ({"method.estimator": "gae"}, "method.lam", (0.1, 0.9)),
    ({"method.estimator": "gae"}, "method.advantage_shaping", ("none", "log")),
    ({"method.advantage_shaping": "log", "method.estimator": "grpo"}, "method.log_unit", (0.1, 5.0)),
    ({"method.replay_weight": 1.0}, "method.replay_size", (1, 3)),
    ({"method.replay_weight": 0, "method.replay_steps": 2}, "method.replay_size", (1, 3)),
    (PLAIN | {"method.unique_target": 1.0}, "method.unique_rate", (0.5, 10.0)),
    (PLAIN | {"method.repeat_discount": 1.0}, "method.repeats_by", ("outcome", "cell")),
    (PLAIN, "method.repeat_discount", (0.0, 1.0)),
    (PLAIN, "method.distinct_by", ("none", "tokens")),
    ({}, "method.down_sample_to", (None, 6)),
    (PLAIN, "method.distinct_by", ("none", "descriptors")),
    ({}, "method.entropy_coef", (0.0, 0.5)),
    (PLAIN | {"method.novelty_weight": 1.0}, "method.novelty_neighbours", (1, 3)),
    ({"method.replay_size": 3, "method.replay_bar": 0.0}, "method.replay_from", ("cells", "spread")),
    ({"method.replay_from": "cells", "method.replay_size": 3}, "method.replay_bar", (0.1, 0.9)),
    ({"method.prompts_per_terrain": 2}, "method.prompt_rests_at", (0.0, 1000.0)),
    ({"warm_start.steps": 3}, "warm_start.elites", (1, 3)),
    ({"warm_start.steps": 3, "warm_start.elites": 3}, "warm_start.elites_per_step", (None, 1)),
    ({"optimizer.name": "adam"}, "optimizer.kwargs.weight_decay", (None, 0.1)),
    ({"scheduler.name": "linear"}, "scheduler.kwargs.start_factor", (None, 0.9)),
]
"""Settings, one more, and two values of it that make a difference."""


def prompts_of(lm, settings: Settings) -> bytes:
    """The prompts that a learner makes of a warm start and two updates, all programs with rewards of their own."""
    run = with_settings(config(), settings)
    learner = Learner(run, lm, instructions(lm), [LetterWorld().terrain(name) for name in LETTERS], LetterWorld.niches)
    small, shared = worker_arguments(run, lm)
    worker, draw = RolloutWorker(**small, **shared), np.random.default_rng(3)
    for terrain in range(2):
        for k in range(4):
            ids = (5 + terrain, 6 + k, lm.eos_id)
            learner.elites.add(terrain, ids, float(k))
            learner.teachers.archive.add(terrain, CellElite(ids, float(k), 0, 5 * k, (k * 2.0, k * 2.0)))
    list(learner.warm_start())
    for k in range(2):
        drawn = worker.generate(RolloutRequest(0, k, ((0, 6), (1, 6))), learner.snapshot().acting)
        rewards = draw.uniform(0.1, 2.0, drawn.rewards.shape)
        told = {"descriptors": draw.uniform(0, 8, (12, 2)), "identity": np.array([0, 0, 1, 2, 2, 2] * 2)}
        same = dataclasses.replace(drawn, rewards=rewards, fitness=rewards, failures=[[None]] * drawn.size, **told)
        learner.update([same])
    prompts = learner.prompt_state().prompts
    assert prompts is not None
    return prompts.tobytes()


def both(settings: Settings, values: dict[str, tuple[Any, Any]]) -> list[Settings]:
    return [settings | {name: pair[k] for name, pair in values.items()} for k in range(2)]


@pytest.mark.parametrize(("settings", "values"), NOTHING)
def test_what_is_said_to_make_no_difference_makes_none(tiny_lm, settings, values):
    one, other = both(settings, values)
    assert effective(with_settings(config(), one)) == effective(with_settings(config(), other))
    assert prompts_of(tiny_lm[0], one) == prompts_of(tiny_lm[0], other)


@pytest.mark.parametrize(("settings", "name", "values"), SOMETHING)
def test_what_makes_a_difference_is_told_apart(tiny_lm, settings, name, values):
    one, other = both(settings, {name: values})
    assert effective(with_settings(config(), one)) != effective(with_settings(config(), other))
    assert prompts_of(tiny_lm[0], one) != prompts_of(tiny_lm[0], other)


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (
            ES,
            {
                "method.advantage_shaping": ("rank", "none"), "method.ppo_epochs": (1, 3),
                "method.init_kl_coef": (0.0, 1.0), "method.kl_in": ("reward", "loss"), "method.cliprange": (0.1, 0.3),
                "method.scale_reward": ("ignored", "running"), "method.cliprange_reward": (None, 0.1),
                "method.replay_weight": (0.0, 1.0), "train.batch_size": (4, 8), "train.minibatch_size": (None, 2),
                "method.target": (None, 0.1), "method.lam": (0.1, 0.9),
            },
        ),
        (ES, {"method.num_rollouts": (16, 23)}),
        ({"method.replay_weight": 0, "method.replay_steps": 0}, {"method.replay_transfer": (0, 8)}),
    ],
)  # fmt: skip
def test_nor_does_it_in_a_whole_run(tiny_lm, settings, values):
    made = []
    for each in both(settings, values):
        run = with_settings(config(), each)
        loop = loop_of(run, tiny_lm[0])
        while loop.stage in ("untuned", "warm_start") or (loop.stage == "steps" and loop.step < run.train.total_steps):
            before = loop.prompts.tobytes()
            loop.advance()
        made.append((effective(run), loop.learner.prompt_state().prompts.tobytes()))
        assert made[-1][1] != before
    assert made[0] == made[1]


def test_every_rule_is_computed_here():
    tried = {name for _, values in NOTHING for name in values} | {"method.replay_transfer", "method.closing_steps"}
    ends = tuple(each for rule in IDLE for each in rule.names if each.endswith("."))
    named = {each for rule in IDLE for each in rule.names if not each.endswith(".")}
    of_es = {each for rule in IDLE if "method.estimator es" in rule.why for each in rule.names}
    assert named - tried <= of_es and any(name.startswith(ends) for name in tried)


@pytest.mark.parametrize(
    ("base", "space", "words"),
    [
        (
            RANKS,
            {"method.estimator": ["rloo", "grpo", "dr_grpo", "reinforce_pp", "gae"]},
            "search.space.method.estimator: rloo, grpo and reinforce_pp make no difference: with "
            "method.advantage_shaping rank they are one estimator; keep one of them",
        ),
        ({}, {"method.lam": {"low": 0.9, "high": 1.0}}, "method.lam: its values make no difference: only method.est"),
        ({}, {"method.closing_steps": [0, 5]}, "members are compared before the closing"),
        (
            {"method.replay_weight": 0, "method.replay_steps": 0},
            {"method.replay_size": [1, 4], "optimizer.kwargs.lr": [0.01, 0.02]},
            "nothing is replayed; leave it out",
        ),
        ({}, {"train.batch_size": [32, 96, 128]}, "96 and 128 make no difference: a batch never has more than"),
        ({}, {"method.cliprange_reward": [None, 0, 5]}, "null and 0 make no difference"),
        ({}, {"optimizer.kwargs.lr": [0.05, "0.05", 0.1]}, "0.05 and 0.05 make no difference: they are one value"),
        ({}, {"ten.hidden": [8, 16]}, "only method.prompt_source ten reads it; leave it out"),
        ({}, {"method.num_value_layers_unfrozen": [0, 2]}, "the value function is one head"),
        ({}, {"train.minibatch_size": [None, 32], "train.batch_size": [32]}, "null and 32 make no difference"),
    ],
)
def test_a_search_whose_values_cannot_differ_is_refused_in_one_line(base, space, words):
    with pytest.raises(UserError) as error:
        check_space(with_settings(search(space=space, algorithm="random"), base))
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "space",
    [
        {"method.estimator": ["rloo", "gae"], "method.lam": [0.9, 1.0]},
        {"method.estimator": ["rloo", "grpo"], "method.advantage_shaping": ["none", "rank"]},
        {"method.replay_weight": [0, 1], "method.replay_size": [1, 4]},
        {"method.init_kl_coef": [0.0, 0.1], "method.target": [None, 6.0], "method.horizon": [10, 100]},
        {"train.batch_size": [32]},
    ],
)
def test_values_that_differ_beside_some_of_the_others_are_searched(space):
    check_space(search(space=space))
