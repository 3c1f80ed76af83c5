"""A member of the population: a run that goes on by rounds, is compared on a fixed set, and may take over another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console

from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.learner.learner import Learner
from distributed.observability.console import Display
from distributed.observability.tracker import Tracker
from distributed.rollout.instructions import Tokens
from distributed.rollout.pool import OnResult, Pool, Ticket
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from distributed.search.exploit import inherit, operate
from distributed.search.objective import figures_of
from distributed.search.space import Settings
from distributed.training.instructions import InstructionOrder
from distributed.training.loop import TrainingLoop
from distributed.training.requests import runs
from distributed.training.variety import bars
from softprompt.models.frozen import FrozenLM
from softprompt.resize.distillation import StoredPrograms
from terrains.base import Terrain, World
from terrains.niches import Niches

FIXED = 7
"""Part of the evaluation set's seeds, so that no request of a `TrainingLoop` has one of them."""


@dataclass(frozen=True)
class Population:
    """What all members have in common.

    Attributes:
        config: settings of the search.
        terrains: their canonical names.
        instructions: token ids of each terrain's instructions.
        make_world: builds the world; it can be pickled.
        model: what ``FrozenLM.export`` returned, or a reference to it in Ray's object store.
        untuned: state of a loop that has sampled the untuned model, or a reference to it.
        tasks: the terrains themselves, for prompts that come from their features or from another run.
        niches: the world's grid, where its programs have descriptors.
    """

    config: RunConfig
    terrains: tuple[str, ...]
    instructions: tuple[tuple[Tokens, ...], ...]
    make_world: Callable[[], World]
    model: Any
    untuned: Any
    tasks: tuple[Terrain, ...] = ()
    niches: Niches | None = None


class Member:
    """One run of the population.

    Args:
        population: what it has in common with the others; ``untuned`` is the state itself.
        lm: the language model.
        pool: its rollout workers.

    Attributes:
        number: of the member, from 0.
        settings: those that differ between members.
        fitness: mean fitness by terrain on the evaluation set, shape (n_terrains,), None before the first round.
        variety: figures of how varied its programs there are, by name, means over the terrains.
        inherited: what happened when it took over another member's state, until the next round reports it.
    """

    def __init__(self, population: Population, lm: FrozenLM, pool: Pool) -> None:
        self._population, self._lm = population, lm
        self._pool = _LastStep(pool)

    def begin(self, number: int, settings: Settings) -> None:
        """Starts as a new member with these settings, from the untuned samples that all members share."""
        self.number, self.settings = number, dict(settings)
        self.inherited: dict[str, Any] | None = None
        self.fitness: np.ndarray | None = None
        self.variety: dict[str, float] = {}
        self._stored: dict[str, np.ndarray] | None = None
        self.loop = self._loop(member_config(self._population.config, number, settings))
        untuned, own = self._population.untuned, self.loop.state_dict()
        common = {name: untuned[name] for name in ("stage", "untuned", "rollouts")}
        own["learner"]["elites"] = untuned["learner"]["elites"]
        if "teachers" in untuned["learner"]:  # not in states of before there were archives
            own["learner"]["teachers"]["archive"] = untuned["learner"]["teachers"]["archive"]
        self.loop.load_state_dict(own | common)

    @property
    def done(self) -> bool:
        """Whether all its steps are made."""
        return self.loop.step >= self.loop.config.train.total_steps

    def round(self) -> dict[str, Any]:
        """Makes the steps of a round and evaluates the prompts.

        Returns:
            Plain metrics: ``fitness``, ``fitness/<terrain>``, ``valid``, figures of variety, ``step``, ``rollouts``
            (sampled for the training that led to its prompts), ``trained_on`` (of these, in this round), and two
            settings.
        """
        before = self.loop.rollouts
        until = self.loop.step + self.loop.config.search.interval
        while not self.done and self.loop.step < until:
            self.loop.advance()
        latest = self._pool.latest
        assert latest, "a round has at least one step"
        self._stored = _stored(latest, self.loop, self._population.config.search.stored_programs)
        results = self._evaluated(self.loop.learner.prompt_state())
        self.fitness, valid = self._fitness(results)
        assert self.loop.untuned is not None
        limits, niches = bars(self.loop.untuned), self._population.niches
        self.variety = figures_of(results, self._population.terrains, niches, limits)
        names = zip(self._population.terrains, self.fitness, strict=True)
        return {
            "fitness": float(self.fitness.mean()),
            **{f"fitness/{name}": float(value) for name, value in names},
            "valid": valid,
            **self.variety,
            "step": self.loop.step,
            "rollouts": self.loop.rollouts,
            "trained_on": self.loop.rollouts - before,
            "n_soft_tokens": self.loop.config.method.n_soft_tokens,
            "lr": self.loop.config.optimizer.kwargs.lr,
        }

    def state_dict(self) -> dict[str, Any]:
        """The state after a round, from which this member continues bit for bit, or which another takes over."""
        assert self.fitness is not None
        return {
            "member": self.number,
            "settings": self.settings,
            "loop": self.loop.state_dict(),
            "fitness": self.fitness,
            "variety": self.variety,
            "stored": self._stored,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores this member's state, or takes over another's, adapted to this one's settings."""
        donor_settings = dict(state["settings"])
        self.fitness, self._stored = state["fitness"], state["stored"]
        self.variety = dict(state.get("variety", {}))  # older states have none
        self.inherited = None
        if state["member"] == self.number and donor_settings == self.settings:
            self.loop.load_state_dict(state["loop"])
            return
        config = self.loop.config
        donor_config = member_config(self._population.config, state["member"], donor_settings)
        sizes = donor_config.method.n_soft_tokens, config.method.n_soft_tokens
        event: dict[str, Any] = {
            "member": self.number,
            "donor": state["member"],
            "step": state["loop"]["step"],
            "from": sizes[0],
            "to": sizes[1],
            "changed": {n: [donor_settings[n], v] for n, v in self.settings.items() if donor_settings[n] != v},
            "fitness_donor": float(np.mean(state["fitness"])),
        }
        operation = None
        learner_state = state["loop"]["learner"]
        if sizes[0] != sizes[1]:
            programs = self._programs(state["stored"])
            seed = np.random.SeedSequence((config.train.seed, state["loop"]["step"], *sizes)).generate_state(1)[0]
            operation = operate(self.loop.learner, learner_state["prompts"], programs, int(seed))
            event |= {"kl_surgery": operation.distilled.kl_before, "kl_distilled": operation.distilled.kl_after}
            if config.search.measure_surgery:
                for name, prompts in (("surgery", operation.prompts), ("distilled", operation.distilled.prompts)):
                    event[f"fitness_{name}"] = float(self._fitness(self._evaluated(_state_of(prompts)))[0].mean())
        heir = inherit(learner_state, donor_config, self.loop.learner, operation)
        # The best state so far was reached with the donor's settings.
        self.loop.load_state_dict({**state["loop"], "best": None, "ahead": [], "learner": heir})
        self.inherited = event

    def _loop(self, config: RunConfig) -> TrainingLoop:
        learner = Learner(
            config, self._lm, self._population.instructions, self._population.tasks, self._population.niches
        )
        display = Display(self._population.terrains, Console(quiet=True), live=False)
        return TrainingLoop(config, self._population.terrains, learner, self._pool, Tracker(), display)

    def _evaluated(self, state: PromptState) -> list[Rollouts]:
        """The programs of the evaluation set."""
        return self._pool.pool.run(evaluation_set(self._population.config, self._population.tasks), state)

    def _fitness(self, results: Sequence[Rollouts]) -> tuple[np.ndarray, float]:
        """Mean fitness by terrain, and the share of valid programs."""
        terrain = np.concatenate([r.terrain for r in results])
        fitness = np.concatenate([r.fitness[:, 0] for r in results])
        valid = [row[0] is None for r in results for row in r.failures]
        means = np.array([fitness[terrain == k].mean() for k in range(len(self._population.terrains))])
        return means, float(np.mean(valid))

    def _programs(self, stored: Mapping[str, np.ndarray]) -> StoredPrograms:
        device = self._lm.device
        ids, mask, terrain = (torch.as_tensor(np.array(stored[n])).to(device) for n in ("ids", "mask", "terrain"))
        which = stored.get("instruction", np.zeros(len(terrain), dtype=np.int64))  # older states have none
        own = terrain // self._population.config.method.prompts_per_terrain
        rows = zip(own.tolist(), np.asarray(which).tolist(), strict=True)
        return StoredPrograms(ids, mask, terrain, tuple(self._population.instructions[k][i] for k, i in rows))


def member_config(config: RunConfig, number: int, settings: Settings) -> RunConfig:
    """Settings of a member: its own, a seed of its own, and no evaluations but the search's."""
    seed = np.random.SeedSequence((config.train.seed, number)).generate_state(1)[0] % 2**31
    common = {
        "train.seed": int(seed),
        "train.eval_interval": config.train.total_steps,
        "train.save_best": False,
        "evaluation.samples_per_terrain": config.search.evaluation_samples,
    }
    return with_settings(config, common | settings)


def evaluation_set(config: RunConfig, terrains: Sequence[Terrain]) -> list[RolloutRequest]:
    """The programs by which members are compared: the same for every member and in every round, seeds included."""
    samples, size = config.search.evaluation_samples, config.rollouts.request_size
    count = -(-samples * len(terrains) // size)
    order = InstructionOrder(config.train.seed, terrains)
    chosen = [iter(order.evaluation(k, samples)) for k in range(len(terrains))]
    requests = []
    for k in range(count):
        share = samples * (k + 1) // count - samples * k // count
        seed = np.random.SeedSequence((config.train.seed, FIXED, k)).generate_state(1)[0]
        if share:
            parts = [(t, n, which) for t, own in enumerate(chosen) for which, n in runs(own, share)]
            groups, which = tuple((t, n) for t, n, _ in parts), tuple(which for _, _, which in parts)
            requests.append(RolloutRequest(k, int(seed), groups, which))
    return requests


class _LastStep(Pool):
    """A pool that remembers the programs that were written last behind a prompt.

    Attributes:
        pool: the pool that does the work.
        latest: answers of the last requests with a prompt.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool, self.latest = pool, list[Rollouts]()

    @property
    def counters(self) -> dict[str, int]:
        """Those of the pool that does the work."""
        return self.pool.counters

    def submit(self, requests: Sequence[RolloutRequest], state: PromptState) -> Ticket:
        """Passes requests on; see Pool."""
        return self.pool.submit(requests, state)

    def collect(self, ticket: Ticket, on_result: OnResult | None = None) -> list[Rollouts]:
        """Passes answers on; see Pool."""
        results = self.pool.collect(ticket, on_result)
        if ticket.state.prompts is not None:
            self.latest = results
        return results

    def close(self) -> None:
        """Ends the workers; see Pool."""
        self.pool.close()


def _stored(latest: Sequence[Rollouts], loop: TrainingLoop, most: int) -> dict[str, np.ndarray]:
    """The program each prompt learns, and the first of its last step, at most ``most``, as padded arrays."""
    rows: list[tuple[int, int, np.ndarray]] = []
    taught = loop.learner.teachers.batch(1)
    for k in range(len(loop.prompts)):
        for i in np.flatnonzero(taught.prompt.numpy() == k):
            rows.append((k, int(taught.instruction[i]), taught.ids[i][taught.mask[i]].numpy()))
        own = [(k, int(r.instruction[i]), r.ids[i][r.mask[i]]) for r in latest for i in np.flatnonzero(r.prompt == k)]
        rows += [row for row in own if len(row[2])][:most]
    width = max(len(ids) for _, _, ids in rows)
    return {
        "ids": np.stack([np.pad(ids, (0, width - len(ids))) for _, _, ids in rows]).astype(np.int64),
        "mask": np.stack([np.arange(width) < len(ids) for _, _, ids in rows]),
        "terrain": np.array([k for k, _, _ in rows], dtype=np.int64),
        "instruction": np.array([which for _, which, _ in rows], dtype=np.int64),
    }


def _state_of(prompts: torch.Tensor) -> PromptState:
    return PromptState(0, prompts.detach().cpu().numpy().copy())
