"""The main job in its order: untuned samples, warm start, PPO steps, closing, evaluation."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distributed.config import RunConfig
from distributed.errors import DivergedError
from distributed.learner.learner import Learner
from distributed.learner.snapshot import BestTracker, Snapshot
from distributed.observability.console import Display
from distributed.observability.tracker import Tracker
from distributed.rollout.pool import Pool
from distributed.rollout.types import Rollouts
from distributed.training import evaluation, metrics
from distributed.training.diagnostics import diagnostics, divergence
from distributed.training.elites import learns_from_elites, offer_step, offer_untuned
from distributed.training.instructions import InstructionOrder
from distributed.training.requests import CHECK, CLOSED, STEP, WARM, equal_groups, make_requests, step_options
from distributed.training.variety import bars, variety_metrics, variety_of
from softprompt.finite import NotFiniteError

STAGES = ("untuned", "warm_start", "steps", "closing", "evaluation", "done")


class TrainingLoop:
    """Trains prompts on terrains with a pool of rollout workers and a learner.

    All random numbers come from the run's seed and the place in the run, so a loop that was saved and restored goes on
    bit for bit.

    Args:
        config: settings of the run.
        terrains: names, in the order of the prompts.
        learner: what is trained; it has the terrains themselves.
        pool: what writes and scores programs.
        tracker: where metrics go.
        display: where a person looks.

    Attributes:
        stage: where the run is, one of STAGES.
        step: PPO steps made.
        rollouts: programs sampled for training, the warm start's included.
        history: one dict of metrics a step.
        untuned: what `evaluation.untuned_of` keeps of the bare language model's programs.
        warm: fitness of each terrain's programs after the warm start, or None.
        tuned: by terrain, what `evaluation.evaluate_prompts` returns.
    """

    def __init__(
        self,
        config: RunConfig,
        terrains: Sequence[str],
        learner: Learner,
        pool: Pool,
        tracker: Tracker,
        display: Display,
    ) -> None:
        self.config, self.terrains, self.learner = config, list(terrains), learner
        self.pool, self.tracker, self.display = pool, tracker, display
        self._order = InstructionOrder(config.train.seed, learner.terrains, config.method.samples_per_instruction)
        self.stage, self.step, self.rollouts = STAGES[0], 0, 0
        self.history: list[dict[str, Any]] = []
        self.untuned: dict[str, Any] | None = None
        self.warm: list[np.ndarray] | None = None
        self.tuned: dict[str, dict[str, Any]] = {}
        self._seconds, self._since = 0.0, time.monotonic()
        self._best = _best_tracker(learner)
        self._ahead: deque[Snapshot] = deque()
        self._tickets: deque[Any] = deque()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the run, those before it was resumed included."""
        return self._seconds + time.monotonic() - self._since

    def advance(self) -> None:
        """Does the next piece of the run: a stage, or one PPO step of the stage ``steps``.

        Raises:
            DivergedError: numbers are not finite any more. Go on from a state that was saved before.
        """
        try:
            self._advance()
        except NotFiniteError as error:
            raise DivergedError(divergence(error, self.config, self.terrains, self.stage, self.step)) from error

    def _advance(self) -> None:
        if self.stage == "untuned":
            self._sample_untuned()
        elif self.stage == "warm_start":
            self._warm_start()
        elif self.stage == "steps" and self.step < self.config.train.total_steps:
            if self.step == 0:
                self.display.phase("steps", self.config.train.total_steps)
            self._step()
            return
        elif self.stage == "closing":
            self._close()
        elif self.stage == "evaluation":
            self._evaluate()
        if self.stage != "done":
            self.stage = STAGES[STAGES.index(self.stage) + 1]

    def state_dict(self) -> dict[str, Any]:
        """Everything from which `load_state_dict` continues bit for bit."""
        return {
            "terrains": self.terrains,
            "stage": self.stage,
            "step": self.step,
            "rollouts": self.rollouts,
            "history": [dict(h) for h in self.history],
            "untuned": self.untuned,
            "warm": self.warm,
            "tuned": self.tuned,
            "seconds": self.seconds,
            "best": self._best.state_dict(),
            "ahead": [snapshot.state_dict() for snapshot in self._ahead],
            "learner": self.learner.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where another loop was.

        Raises:
            ValueError: the other loop had other terrains, or prompts of another shape.
        """
        if list(state["terrains"]) != self.terrains:
            raise ValueError(
                f"the checkpoint is of terrains {', '.join(state['terrains'])}, not {', '.join(self.terrains)}"
            )
        self.learner.load_state_dict(state["learner"])
        self.stage, self.step, self.rollouts = state["stage"], state["step"], state["rollouts"]
        self.history = [dict(h) for h in state["history"]]
        self.untuned, self.warm, self.tuned = state["untuned"], state["warm"], state["tuned"]
        self._seconds, self._since = state["seconds"], time.monotonic()
        self._best = _best_tracker(self.learner)
        if state["best"]:
            self._best.load_state_dict(state["best"])
        self._ahead = deque(map(Snapshot.from_state, state["ahead"]))
        self._tickets.clear()
        if self.stage == "steps":
            self.display.phase("steps", self.config.train.total_steps)
            self.display.advance(self.step)

    @property
    def final(self) -> Snapshot:
        """The policy that a run exports: the present one, or the best with save_best."""
        return self._best.snapshot if self.config.train.save_best else self.learner.snapshot()

    @property
    def prompts(self) -> np.ndarray:
        """The prompts that a run exports, shape (n_prompts, n_soft_tokens, d); with save_best, each terrain's best."""
        prompts = self.final.state.prompts
        assert prompts is not None
        return prompts

    def _sample_untuned(self) -> None:
        """Draws programs of the bare language model, once for all terrains that share them, and keeps the elites."""
        results = evaluation.sample_untuned(self.config, self._order, self.pool, self.display)
        taught = learns_from_elites(self.config)
        teachers = evaluation.sample_teachers(self.config, self._order, self.pool, self.display) if taught else []
        offer_untuned(self.learner, [*results, *teachers], self._order)
        self.untuned = evaluation.untuned_of(results, len(self.terrains))
        self.untuned["variety"] = self._variety(results, prompted=False)
        aside = sum(self._order.has_evaluation(k) for r in results for k in r.terrain.tolist())
        self.rollouts += sum(r.size for r in [*results, *teachers]) - aside
        if self.untuned["metrics"]:
            found = metrics.measured_metrics(self.terrains, self.untuned["metrics"])
            self._record({"phase": "untuned", **found}, show=False)

    def _warm_start(self) -> None:
        """Learns the elites by likelihood, then measures the fitness that this alone reached."""
        if self.config.warm_start.steps == 0 and not self.config.warm_start.init_from_elite:
            return
        self.warm = self._imitated("warm start", self.config.warm_start.steps, self.learner.warm_start(), WARM)

    def _close(self) -> None:
        """Learns what the whole run found by likelihood alone."""
        if self.config.method.closing_steps and len(self.learner.elites):
            self._imitated("closing", self.config.method.closing_steps, self.learner.imitate_best(), CLOSED)

    def _imitated(self, phase: str, total: int, steps: Iterator[float], purpose: int) -> list[np.ndarray]:
        """Takes steps of likelihood; returns the fitness of each terrain's fresh programs after them."""
        self.display.phase(phase, total)
        for k, nats in enumerate(steps):
            self.tracker.log({f"{phase.replace(' ', '_')}/nats_per_token": nats}, k)
            self.display.advance()
        own = self._own_fitness(self._fresh(purpose, 0, f"after the {phase}"))
        self._best.note(self.learner.snapshot(), [f.mean() for f in own])
        self._record({"phase": phase, **metrics.fitness_metrics(self.terrains, own)}, show=False)
        return own

    def _step(self) -> None:
        """One PPO step: collects rollouts, updates the policy, records metrics."""
        started = time.monotonic()
        evolves = self.config.method.estimator == "es"
        snapshot, parts = self._collect_candidates() if evolves else self._collect()
        results = [r for part in parts for r in part]
        collected = time.monotonic()
        own = self._own_fitness(results)
        self._best.note(snapshot, [f.mean() for f in own])
        moved = offer_step(self.learner, results, len(self.terrains))
        stats = self.learner.evolve(parts) if evolves else self.learner.update(results)
        self.step += 1
        self.rollouts += sum(r.size for r in results)
        entry = {"phase": "steps", **metrics.fitness_metrics(self.terrains, own)}
        entry |= metrics.program_metrics(self.terrains, results, self.history[-1] if self.history else ())
        entry |= variety_metrics(self.terrains, self._variety(results))
        entry |= metrics.by_terrain(self.terrains, stats)
        entry |= {
            "staleness": self.learner.version - 1 - snapshot.state.version,
            "time/rollout_time": collected - started,
            **metrics.rollout_metrics(results),
            "time/update": time.monotonic() - collected,
            "transfer/tried": float(sum(len(r.trials) for r in results)),
            "transfer/entered": float(moved),
            **{f"pool/{name}": count for name, count in self.pool.counters.items()},
            **metrics.summed("scoring", [r.counts for r in results]),
        }
        if self.step % self.config.train.eval_interval == 0 and self.step < self.config.train.total_steps:
            fresh = self._fresh(CHECK, self.step, None)
            check = zip(self.terrains, self._own_fitness(fresh), strict=True)
            entry |= {f"eval/fitness/{t}": float(f.mean()) for t, f in check}
            entry |= metrics.measured_metrics(self.terrains, evaluation.measured(fresh, len(self.terrains)))
        self._record(entry)
        self._warn()

    def _evaluate(self) -> None:
        """Samples every final prompt anew and scores it wherever it can be: the transfer matrix."""
        state = replace(self.final.state, version=self.learner.version)
        evaluated = self.config, self.terrains, self._order, self.pool, self.display
        self.tuned, results = evaluation.evaluate_prompts(*evaluated, state)
        for name, found in zip(self.terrains, self._variety(results), strict=True):
            self.tuned[name]["variety"] = found
        names = dict.fromkeys(name for tuned in self.tuned.values() for name in tuned["metrics"])
        measured = {name: [self.tuned[t]["metrics"][name] for t in self.terrains] for name in names}
        if measured:
            self.history = [entry for entry in self.history if entry["phase"] != "evaluation"]
            self._record({"phase": "evaluation", **metrics.measured_metrics(self.terrains, measured)}, show=False)

    def _collect_candidates(self) -> tuple[Snapshot, list[list[Rollouts]]]:
        """Answers behind each of the learner's candidates; the two of a pair draw tokens by the same random numbers."""
        states = self.learner.candidates()
        pairs, n_terrains = len(states) // 2, len(self.terrains)
        n = self.config.method.num_rollouts // (len(states) * n_terrains)
        tickets = []
        for k, state in enumerate(states):
            groups, place = [(t, n) for t in range(n_terrains)], self.step * pairs + k % pairs
            chosen = [self._order.training(t, n, self.step) for t in range(n_terrains)]
            requests = make_requests(self.config, STEP, place, groups, chosen, **step_options(self.config.method))
            own = [replace(request, id=2 * request.id + k // pairs) for request in requests]
            tickets.append(self.pool.submit(own, state))
        return self.learner.snapshot(), [self.pool.collect(ticket) for ticket in tickets]

    def _collect(self) -> tuple[Snapshot, list[list[Rollouts]]]:
        """Answers for the next step, in one part; with max_staleness above 0 requests of later steps are sent too."""
        config = self.config
        groups, options = equal_groups(config.method.num_rollouts, len(self.terrains)), step_options(config.method)
        bound = config.rollouts.max_staleness
        wanted = min(1 + bound, config.train.total_steps - self.step)
        while len(self._ahead) < wanted:
            self._ahead.append(self.learner.snapshot())
        while len(self._tickets) < len(self._ahead):
            place, acting = self.step + len(self._tickets), self._ahead[len(self._tickets)].acting
            chosen = [self._order.training(k, n, place) for k, n in groups]
            requests = make_requests(config, STEP, place, groups, chosen, **options)
            self._tickets.append(self.pool.submit(requests, acting))
        snapshot, ticket = self._ahead.popleft(), self._tickets.popleft()
        staleness = self.learner.version - snapshot.state.version
        if staleness > bound:
            raise RuntimeError(f"rollouts are {staleness} updates old; max_staleness is {bound}")
        return snapshot, [self.pool.collect(ticket)]

    def _fresh(self, purpose: int, place: int, phase: str | None) -> list[Rollouts]:
        """Fresh programs under each prompt as it is now."""
        state = self.learner.prompt_state()
        return evaluation.fresh_programs(
            self.config, self._order, self.pool, self.display, state, purpose, place, phase
        )

    def _variety(self, results: Sequence[Rollouts], prompted: bool = True) -> list[dict[str, Any]]:
        """How varied the programs of each terrain are."""
        limits = bars(self.untuned) if self.untuned else [0.0] * len(self.terrains)
        return [variety_of(results, k, self.learner.niches, bar, prompted) for k, bar in enumerate(limits)]

    def _own_fitness(self, results: Sequence[Rollouts]) -> list[np.ndarray]:
        """Fitness of each terrain's programs."""
        return [metrics.own_fitness(results, k) for k in range(len(self.terrains))]

    def _record(self, found: dict[str, Any], show: bool = True) -> None:
        """Adds metrics to the history, the tracker and, where they are shown, the display."""
        entry = {"step": self.step, **found, "seconds": self.seconds}
        self.history.append(entry)
        self.tracker.log({k: v for k, v in entry.items() if isinstance(v, int | float)}, self.step)
        if show:
            self.display.step(entry)

    def _warn(self) -> None:
        """Shows the message of each of `diagnostics` in the step in which it first holds."""
        steps = [h for h in self.history if h["phase"] == "steps"]
        before = diagnostics(steps[:-1], self.terrains)
        for kind, words in diagnostics(steps, self.terrains).items():
            if kind not in before:
                self.display.message(words)


def _best_tracker(learner: Learner) -> BestTracker:
    per_terrain = learner.config.method.prompts_per_terrain
    return BestTracker(learner.snapshot(), learner.shares_parameters, per_terrain)
