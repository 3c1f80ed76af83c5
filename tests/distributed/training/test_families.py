"""A step of PPO on every family of language models: it learns from what it drew, and moves prompts alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from distributed.rollout.local_pool import LocalPool
from distributed.rollout.worker import RolloutWorker
from softprompt.models.frozen import FrozenLM
from softprompt.pretrain.tokenizer import train_tokenizer
from terrains.base import Attempt, Score
from tests.distributed.tiny_runs import config, loop_of, worker_arguments
from tests.distributed.tiny_workers import LetterWorld
from tests.softprompt.families import FAMILIES, Family, build

QUICK = ("Gemma 2", "gpt-oss")
EACH = [pytest.param(f, id=f.name, marks=[] if f.name in QUICK else pytest.mark.slow) for f in FAMILIES]


class VaryingWorld(LetterWorld):
    """Pays another number for every text, whatever a model writes."""

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Sums of the letters' numbers, but for multiples of 11."""
        return [Score(worth, worth) for worth in (float(sum(map(ord, each.program)) % 11) for each in attempts)]


@pytest.mark.parametrize("family", EACH)
def test_a_step_of_ppo_moves_prompts_and_nothing_else(family: Family):
    tokenizer = train_tokenizer(["import math\ndef f():\n    return 12\n"] * 3, 264, "import math\n")
    lm = FrozenLM(build(family), tokenizer)
    hashed = lm.hash
    run = config(train__total_steps=1, warm_start__steps=0, method__replay_weight=0)
    small, shared = worker_arguments(run, lm)
    loop = loop_of(run, lm, LocalPool(RolloutWorker, small | {"make_world": VaryingWorld}, shared))
    before = loop.learner.prompt_state().prompts.copy()
    while loop.step < 1:
        loop.advance()
    after = loop.learner.prompt_state().prompts
    assert lm.hash == hashed and np.isfinite(after).all()
    assert (np.abs(after - before).max(axis=(1, 2)) > 1e-4).all()
    # Of the first step of the optimizer it is 1, as the sampler and the learner see the same; later ones move it.
    assert loop.history[-1]["ratio"] == pytest.approx(1, abs=0.3)
