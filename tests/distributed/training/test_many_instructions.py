"""Runs in a world with several instructions a terrain, rewards a token and metrics."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
from rich.console import Console

from distributed.learner.learner import Learner
from distributed.observability.console import Display
from distributed.observability.tracker import Tracker
from distributed.results.summary import summarise
from distributed.rollout.instructions import all_instruction_ids
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.pool import RolloutError
from distributed.rollout.types import RolloutRequest
from distributed.rollout.worker import RolloutWorker
from distributed.training.loop import TrainingLoop
from terrains.base import Attempt, Instruction, Score, Terrain
from terrains.errors import WorldError
from tests.distributed.tiny_runs import LETTERS, config, finish, loop_of, outcome, worker_arguments


class DenseWorld:
    """Pays each token whose number is even; every terrain has instructions of its own, one for evaluation."""

    name = "dense"

    def terrain(self, name: str) -> Terrain:
        own = tuple(Instruction(f"import math {name}{k}\n") for k in range(3))
        return Terrain(name, instructions=own, eval_instructions=(Instruction(f"def {name}\n"),))

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        paid = [tuple(float(token % 2 == 0) for token in each.output_ids) for each in attempts]
        for each in attempts:
            assert each.program.startswith(self.terrain(each.terrain).all_instructions[each.instruction].text)
        return [Score(sum(row), sum(row), token_rewards=row) for row in paid]

    def metrics(self, attempts: Sequence[Attempt]) -> dict[str, list[float]]:
        return {"tokens": [float(len(each.output_ids)) for each in attempts]}

    def close(self) -> None:
        pass


class BrokenWorld(DenseWorld):
    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        raise WorldError("the reward has no key\nanswer")


class ShortWorld(DenseWorld):
    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        return super().score(attempts)[1:]


def loop_in(world, lm, **settings):
    run = config(train__eval_interval=2, **settings)
    small, shared = worker_arguments(run, lm)
    tasks = [world().terrain(name) for name in LETTERS]
    learner = Learner(run, lm, all_instruction_ids(lm, tasks), tasks)
    pool = LocalPool(RolloutWorker, small | {"make_world": world}, shared)
    return TrainingLoop(run, LETTERS, learner, pool, Tracker(), Display(LETTERS, Console(quiet=True)))


@pytest.mark.parametrize("settings", [{}, {"method__samples_per_instruction": 3, "method__estimator": "gae"}])
def test_a_run_goes_on_bit_for_bit_and_its_summary_has_no_other_terrains(tiny_lm, settings):
    lm = tiny_lm[0]
    first = loop_in(DenseWorld, lm, **settings)
    while first.step < 2:
        first.advance()
    second = loop_in(DenseWorld, lm, **settings)
    second.load_state_dict(first.state_dict())
    np.testing.assert_equal(outcome(finish(second)), outcome(finish(first)))  # NaN equals NaN here
    assert all(elite.instruction < 3 for k in range(2) for elite in first.learner.elites.best(k))
    assert any("metrics/tokens/a" in entry for entry in first.history if entry["phase"] == "steps")
    fitness, valid, programs = ({n: t[key] for n, t in first.tuned.items()} for key in ("fitness", "valid", "programs"))
    untuned = first.untuned
    summary = summarise(0, 1, 1.0, LETTERS, untuned["fitness"], untuned["valid"], None, fitness, valid, programs)
    assert {name: list(row) for name, row in summary.transfer.items()} == {"a": ["a"], "e": ["e"]}
    assert summary.transfer["a"]["a"] == pytest.approx(np.mean(fitness["a"][:, 0]))
    assert all(program.startswith("def a\n") for program in programs["a"])


def test_a_checkpoint_of_before_there_were_many_instructions_goes_on_alike(tiny_lm):
    first = loop_of(config(method__replay_weight=1.0, method__replay_size=2), tiny_lm[0])
    while first.step < 2:
        first.advance()
    state = copy.deepcopy(first.state_dict())
    for elites in state["learner"]["elites"]["elites"]:
        for elite in elites:
            assert elite.pop("instruction") == 0
    assert not state["untuned"].pop("metrics")
    second = loop_of(config(method__replay_weight=1.0, method__replay_size=2), tiny_lm[0])
    second.load_state_dict(state)
    assert outcome(finish(second)) == outcome(finish(first))


def test_rewards_of_tokens_reach_the_learner_token_by_token(tiny_lm):
    loop = loop_in(DenseWorld, tiny_lm[0], method__init_kl_coef=0.0, method__estimator="gae", method__lam=1.0)
    requests = [RolloutRequest(0, 3, ((0, 4), (0, 4)), (0, 2))]
    rollouts = loop.pool.run(requests, loop.learner.prompt_state())
    assert rollouts[0].instruction.tolist() == [0] * 4 + [2] * 4
    batch, _ = loop.learner._prepare(rollouts)
    paid = np.where(rollouts[0].mask, rollouts[0].ids % 2 == 0, 0).astype(np.float64)
    # The critic starts at 0 and nothing is discounted: what a token returns is what it and those behind it are paid.
    expected = paid[:, ::-1].cumsum(1)[:, ::-1] * rollouts[0].mask
    np.testing.assert_allclose(batch.returns.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("world", "said"), [(BrokenWorld, "the reward has no key answer"), (ShortWorld, "scores for 24 attempts|5 scores")]
)
def test_a_world_that_cannot_go_on_ends_the_run_in_its_own_line(tiny_lm, world, said):
    with pytest.raises(RolloutError, match=said) as caught:
        loop_in(world, tiny_lm[0]).advance()
    assert "\n" not in str(caught.value) and "failed" not in str(caught.value)
