"""Rewards are brought to size as trlx brings them: trlx_3340c2f.json says what it computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from distributed.learner.advantages import make_scaling
from distributed.learner.learner import Learner
from distributed.rollout.types import RolloutRequest
from distributed.rollout.worker import RolloutWorker
from softprompt.rl.reward_scaling import RewardScaling
from tests.distributed.tiny_runs import config, instructions, worker_arguments

RECORDED = Path(__file__).parents[2] / "softprompt" / "rl" / "data" / "trlx_3340c2f.json"
GOLDEN = json.loads(RECORDED.read_text())["score_scaling"]


def scaling(kind: str, **settings: float | None) -> RewardScaling:
    named = {f"method__{name}": value for name, value in settings.items()}
    return make_scaling(config(method__scale_reward=kind, method__advantage_shaping="none", **named).method, 1)


def scaled(own: RewardScaling, scores: list[float]) -> list[float]:
    return own(torch.tensor(scores, dtype=torch.float64), torch.zeros(len(scores), dtype=torch.int64)).tolist()


@pytest.mark.parametrize("kind", GOLDEN["kinds"])
def test_scores_are_clipped_noted_and_divided_as_by_trlx(kind):
    own = scaling(kind, cliprange_reward=GOLDEN["cliprange_reward"])
    for step in GOLDEN["kinds"][kind]:
        assert scaled(own, step["scores"]) == pytest.approx(step["scaled"], rel=1e-12)
        assert own.moments.mean == pytest.approx(step["running_mean"], rel=1e-12)
        assert own.moments.std == pytest.approx(step["running_std"], rel=1e-12)


def test_a_deviation_that_is_given_divides_and_the_mean_is_not_taken_off():
    case = GOLDEN["ref_given"]
    own = scaling("ref", ref_mean=case["ref_mean"], ref_std=case["ref_std"])
    for step in case["steps"]:
        assert scaled(own, step["scores"]) == pytest.approx(step["scaled"], rel=1e-12)


def test_the_reference_of_a_resumed_run_is_that_of_its_first_rollouts():
    first, second = GOLDEN["kinds"]["ref"][:2]
    own, resumed = scaling("ref"), scaling("ref")
    scaled(own, first["scores"])
    resumed.load_state_dict(json.loads(json.dumps(own.state_dict())))
    assert scaled(resumed, second["scores"]) == pytest.approx(second["scaled"], rel=1e-12)


def test_rollouts_that_all_score_alike_are_no_reference():
    own = scaling("ref")
    assert scaled(own, [2.0, 2.0]) == [2.0, 2.0]
    assert scaled(own, [1.0, 3.0]) == pytest.approx([1 / 2**0.5, 3 / 2**0.5])


def test_a_terrain_is_scaled_by_what_is_left_of_its_scores_by_the_clipping():
    method = config(method__scale_reward="terrain", method__advantage_shaping="none").method
    found = make_scaling(method, 2)(torch.tensor([500.0, 0.0, 4.0, 2.0]).double(), torch.tensor([0, 0, 1, 1]))
    assert found.tolist() == pytest.approx([2**0.5, 0.0, 4 / 2**0.5, 2 / 2**0.5])


def test_the_kl_coefficient_moves_once_a_pass_by_the_size_of_a_batch(tiny_lm):
    """trlx calls its controller behind each pass over the rollouts, with train.batch_size programs."""
    lm, _ = tiny_lm
    run = config(method__target=1e-9, method__horizon=100, method__ppo_epochs=3, train__batch_size=5)
    learner = Learner(run, lm, instructions(lm))
    small, shared = worker_arguments(run, lm)
    answer = RolloutWorker(**small, **shared).generate(RolloutRequest(0, 3, ((0, 6), (1, 6))), learner.prompt_state())
    stats = learner.update([answer])
    assert stats["policy/kl_per_program"] > 1e-9  # so the coefficient rises as fast as it may
    assert learner.state_dict()["kl"]["value"] == pytest.approx(0.05 * (1 + 0.2 * 5 / 100) ** 3, rel=1e-12)
