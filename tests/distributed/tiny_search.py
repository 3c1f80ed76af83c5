"""A population small enough to drive by hand: a tiny random language model, a world that counts letters."""

from __future__ import annotations

from typing import Any

from distributed.config import RunConfig
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.worker import RolloutWorker
from distributed.search.member import Member, Population
from softprompt.models.frozen import FrozenLM
from tests.distributed.tiny_runs import LETTERS, config, instructions, loop_of, worker_arguments
from tests.distributed.tiny_workers import LetterWorld

SPACE = {
    "method.n_soft_tokens": [2, 3, 5],
    "method.initialize_from_vocab": [True, False],
    "optimizer.kwargs.lr": {"low": 0.01, "high": 0.1, "log": True},
    "method.estimator": ["rloo", "gae"],
}
FIRST = {
    "method.n_soft_tokens": 3,
    "method.initialize_from_vocab": True,
    "optimizer.kwargs.lr": 0.05,
    "method.estimator": "gae",
    "method.init_kl_coef": 0.05,
    "method.replay_size": 1,
    "optimizer.name": "adam",
}


def search_config(**settings: Any) -> RunConfig:
    """A search of three members, two rounds of two steps each; ``search__members=4`` changes a setting."""
    small = {
        "train__total_steps": 4,
        "search__members": 3,
        "search__interval": 2,
        "search__space": SPACE,
        "search__evaluation_samples": 6,
        "search__stored_programs": 4,
        "search__distill_steps": 8,
        "ray__enabled": False,
    }
    return config(**(small | settings))


def population(run: RunConfig, lm: FrozenLM) -> Population:
    """What members share, the untuned samples included."""
    loop = loop_of(run, lm)
    loop.advance()
    common = (tuple(LETTERS), tuple(instructions(lm)), LetterWorld, lm.export(), loop.state_dict())
    return Population(run, *common, tasks=tuple(map(LetterWorld().terrain, LETTERS)))


def member_of(people: Population, lm: FrozenLM, number: int = 0, **changed: Any) -> Member:
    """A member at its beginning, with FIRST's settings but for ``method__n_soft_tokens=5`` and the like."""
    member = Member(people, lm, LocalPool(RolloutWorker, *worker_arguments(people.config, lm)))
    member.begin(number, FIRST | {name.replace("__", "."): value for name, value in changed.items()})
    return member
