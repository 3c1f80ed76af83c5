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
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts, split_requests
from distributed.training.diagnostics import diagnostics
from softprompt.finite import NotFiniteError

STAGES = ("untuned", "warm_start", "steps", "closing", "evaluation", "done")

UNTUNED, WARM, STEP, CHECK, FINAL, CLOSED = range(6)
"""What a request is for; part of its seed, so that no two parts of a run draw the same programs."""


class TrainingLoop:
    """Trains prompts on terrains with a pool of rollout workers and a learner.

    All chance comes from the run's seed and the place in the run, so a loop that was saved and restored goes on bit
    for bit.

    Args:
        config: settings of the run.
        terrains: names, in the order of the prompts.
        learner: what is trained.
        pool: what writes and scores programs.
        tracker: where metrics go.
        display: where a person looks.

    Attributes:
        stage: where the run is, one of STAGES.
        step: PPO steps made.
        rollouts: programs sampled for training, the warm start's included.
        history: one dict of metrics a step.
        untuned: fitness and validity (n, n_terrains) of the bare language model, and its best program by terrain.
        warm: fitness of each terrain's programs after the warm start, or None.
        tuned: by terrain, fitness and validity (m, n_terrains) and programs of its final prompt.
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
        self.stage, self.step, self.rollouts = STAGES[0], 0, 0
        self.history: list[dict[str, Any]] = []
        self.untuned: dict[str, Any] | None = None
        self.warm: list[np.ndarray] | None = None
        self.tuned: dict[str, dict[str, Any]] = {}
        self._seconds, self._since = 0.0, time.monotonic()
        self._best = BestTracker(learner.snapshot(), learner.shares_parameters)
        self._ahead: deque[Snapshot] = deque()
        self._tickets: deque[Any] = deque()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the run, over all its sittings."""
        return self._seconds + time.monotonic() - self._since

    def advance(self) -> None:
        """Does the next piece of the run: a stage, or one PPO step of the stage ``steps``.

        Raises:
            DivergedError: numbers are not finite any more; the loop is of no use then, its last state is.
        """
        try:
            self._advance()
        except NotFiniteError as error:
            raise DivergedError(self._says_what_diverged(error)) from error

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
        self._best = BestTracker(self.learner.snapshot(), self.learner.shares_parameters)
        if state["best"]:
            self._best.load_state_dict(state["best"])
        self._ahead = deque(map(Snapshot.from_state, state["ahead"]))
        self._tickets.clear()
        if self.stage == "steps":
            self.display.phase("steps", self.config.train.total_steps)
            self.display.advance(self.step)

    @property
    def final(self) -> Snapshot:
        """What a run hands out: the policy as it is, or with save_best as it was best."""
        return self._best.snapshot if self.config.train.save_best else self.learner.snapshot()

    @property
    def prompts(self) -> np.ndarray:
        """The prompts a run hands out, shape (n_terrains, n_soft_tokens, d); with save_best, each terrain's best."""
        prompts = self.final.state.prompts
        assert prompts is not None
        return prompts

    def _sample_untuned(self) -> None:
        """Draws programs of the bare language model once, scores them on every terrain and keeps the elites."""
        n = self.config.warm_start.samples
        results = self._run(self._requests(UNTUNED, 0, [(0, n)], use_prompt=False, score_on="all"), None, "untuned")
        fitness = np.concatenate([r.fitness for r in results])
        valid = np.array([[f is None for f in row] for r in results for row in r.failures])
        programs = [p for r in results for p in r.programs]
        for k in range(len(self.terrains)):
            for r in results:
                ok = np.array([row[k] is None for row in r.failures])
                self._offer(k, r, np.flatnonzero(ok), r.fitness[:, k])
        best = [programs[int(i)] for i in fitness.argmax(axis=0)]
        self.untuned = {"fitness": fitness, "valid": valid, "best": best, "unique": len(set(programs))}
        self.rollouts += n

    def _warm_start(self) -> None:
        """Learns the elites by likelihood, then measures what that alone reached."""
        if self.config.warm_start.steps == 0 and not self.config.warm_start.init_from_elite:
            return
        self.warm = self._imitated("warm start", self.config.warm_start.steps, self.learner.warm_start(), WARM)

    def _close(self) -> None:
        """Learns what the whole run found by likelihood alone."""
        if self.config.method.closing_steps and len(self.learner.elites):
            self._imitated("closing", self.config.method.closing_steps, self.learner.imitate_best(), CLOSED)

    def _imitated(self, phase: str, total: int, steps: Iterator[float], purpose: int) -> list[np.ndarray]:
        """Lets steps of likelihood happen; returns the fitness of each terrain's programs behind what they made."""
        self.display.phase(phase, total)
        for k, nats in enumerate(steps):
            self.tracker.log({f"{phase.replace(' ', '_')}/nats_per_token": nats}, k)
            self.display.advance()
        own = self._check(purpose, 0, f"after the {phase}")
        self._best.note(self.learner.snapshot(), [f.mean() for f in own])
        self._record({"phase": phase, **self._fitness_metrics(own)}, show=False)
        return own

    def _step(self) -> None:
        """Collects rollouts, updates, records."""
        started = time.monotonic()
        evolves = self.config.method.estimator == "es"
        snapshot, parts = self._collect_candidates() if evolves else self._collect()
        results = [r for part in parts for r in part]
        collected = time.monotonic()
        own = [self._own_fitness(results, k) for k in range(len(self.terrains))]
        self._best.note(snapshot, [f.mean() for f in own])
        for r in results:
            for k in range(len(self.terrains)):
                ok = np.array([row[0] is None for row in r.failures]) & (r.terrain == k)
                self._offer(k, r, np.flatnonzero(ok), r.fitness[:, 0])
        moved = sum(self._transfer(r) for r in results)
        stats = self.learner.evolve(parts) if evolves else self.learner.update(results)
        self.step += 1
        self.rollouts += sum(r.size for r in results)
        metrics = {"phase": "steps", **self._fitness_metrics(own), **self._program_metrics(results)}
        metrics |= self._by_terrain(stats)
        metrics |= {
            "staleness": self.learner.version - 1 - snapshot.state.version,
            "time/rollout_time": collected - started,
            "time/rollout_generate": float(sum(r.seconds.get("generate", 0.0) for r in results)),
            "time/rollout_score": float(sum(r.seconds.get("score", 0.0) for r in results)),
            "time/update": time.monotonic() - collected,
            "transfer/tried": float(sum(len(r.trials) for r in results)),
            "transfer/entered": float(moved),
            **{f"pool/{name}": count for name, count in self.pool.counters.items()},
            **_summed("scoring", [r.counts for r in results]),
        }
        if self.step % self.config.train.eval_interval == 0 and self.step < self.config.train.total_steps:
            check = self._check(CHECK, self.step, None)
            metrics |= {f"eval/fitness/{t}": float(f.mean()) for t, f in zip(self.terrains, check, strict=True)}
        self._record(metrics)
        self._warn()

    def _evaluate(self) -> None:
        """Samples every final prompt anew and scores it on every terrain: the transfer matrix."""
        state = replace(self.final.state, version=self.learner.version)
        groups = [(k, self.config.evaluation.samples_per_terrain) for k in range(len(self.terrains))]
        results = self._run(self._requests(FINAL, 0, groups, score_on="all"), state, "evaluation")
        for k, name in enumerate(self.terrains):
            chosen = [(r, i) for r in results for i in np.flatnonzero(r.terrain == k)]
            self.tuned[name] = {
                "fitness": np.array([r.fitness[i] for r, i in chosen]),
                "valid": np.array([[f is None for f in r.failures[i]] for r, i in chosen]),
                "programs": [r.programs[i] for r, i in chosen],
            }

    def _collect_candidates(self) -> tuple[Snapshot, list[list[Rollouts]]]:
        """Answers behind each of the learner's candidates; the two of a pair draw their tokens by the same chance."""
        states = self.learner.candidates()
        pairs, n_terrains = len(states) // 2, len(self.terrains)
        n = self.config.method.num_rollouts // (len(states) * n_terrains)
        tickets = []
        for k, state in enumerate(states):
            requests = self._requests(
                STEP, self.step * pairs + k % pairs, [(t, n) for t in range(n_terrains)], **self._exploring
            )
            own = [replace(request, id=2 * request.id + k // pairs) for request in requests]
            tickets.append(self.pool.submit(own, state))
        return self.learner.snapshot(), [self.pool.collect(ticket) for ticket in tickets]

    def _collect(self) -> tuple[Snapshot, list[list[Rollouts]]]:
        """Answers for the next step, in one part; with max_staleness above 0 later steps are under way meanwhile."""
        per_step = np.full(len(self.terrains), self.config.method.num_rollouts // len(self.terrains))
        per_step[: self.config.method.num_rollouts % len(self.terrains)] += 1
        groups = [(k, int(n)) for k, n in enumerate(per_step)]
        bound = self.config.rollouts.max_staleness
        wanted = min(1 + bound, self.config.train.total_steps - self.step)
        while len(self._ahead) < wanted:
            self._ahead.append(self.learner.snapshot())
        while len(self._tickets) < len(self._ahead):
            place, acting = self.step + len(self._tickets), self._ahead[len(self._tickets)].acting
            self._tickets.append(self.pool.submit(self._requests(STEP, place, groups, **self._exploring), acting))
        snapshot, ticket = self._ahead.popleft(), self._tickets.popleft()
        staleness = self.learner.version - snapshot.state.version
        if staleness > bound:
            raise RuntimeError(f"rollouts are {staleness} updates old; max_staleness is {bound}")
        return snapshot, [self.pool.collect(ticket)]

    def _check(self, purpose: int, place: int, phase: str | None) -> list[np.ndarray]:
        """Fitness of fresh programs under each prompt as it is now, on its own terrain."""
        n = max(2, self.config.evaluation.samples_per_terrain // 2)
        groups = [(k, n) for k in range(len(self.terrains))]
        results = self._run(self._requests(purpose, place, groups), self.learner.prompt_state(), phase)
        return [self._own_fitness(results, k) for k in range(len(self.terrains))]

    @property
    def _exploring(self) -> dict[str, Any]:
        """What sets the requests of a PPO step apart."""
        method = self.config.method
        replays = method.replay_weight > 0 or method.replay_steps > 0
        return {"explore": True, "try_on": method.replay_transfer if replays else 0}

    def _run(self, requests: list[RolloutRequest], state: PromptState | None, phase: str | None) -> list[Rollouts]:
        if phase:
            self.display.phase(phase, sum(r.size for r in requests))
        on_result = (lambda r: self.display.advance(r.size)) if phase else None
        return self.pool.run(requests, state or PromptState(0, None), on_result)

    def _requests(
        self, purpose: int, place: int, groups: Sequence[tuple[int, int]], **options: Any
    ) -> list[RolloutRequest]:
        """Cuts work into requests; the cut depends on the configuration alone."""
        requests = []
        for k, share in enumerate(split_requests(groups, self.config.rollouts.request_size)):
            seed = np.random.SeedSequence((self.config.train.seed, purpose, place, k)).generate_state(1)[0]
            number = (purpose * 1_000_000 + place) * 10_000 + k
            requests.append(RolloutRequest(number, int(seed), share, **options))
        return requests

    def _offer(self, terrain: int, rollouts: Rollouts, rows: np.ndarray, fitness: np.ndarray) -> None:
        for i in rows:
            self.learner.elites.add(terrain, rollouts.ids[i][rollouts.mask[i]].tolist(), float(fitness[i]))

    def _transfer(self, rollouts: Rollouts) -> int:
        """Offers what was tried on other terrains to their elites; returns how many entered."""
        entered = 0
        for row, terrain, fitness in rollouts.trials:
            ids = rollouts.ids[row][rollouts.mask[row]].tolist()
            entered += fitness is not None and self.learner.elites.add(terrain, ids, fitness)
        return entered

    def _own_fitness(self, results: Sequence[Rollouts], terrain: int) -> np.ndarray:
        return np.concatenate([r.fitness[r.terrain == terrain, 0] for r in results])

    def _fitness_metrics(self, own: Sequence[np.ndarray]) -> dict[str, float]:
        metrics = {f"fitness/{t}": float(f.mean()) for t, f in zip(self.terrains, own, strict=True)}
        metrics |= {f"best/{t}": float(f.max()) for t, f in zip(self.terrains, own, strict=True)}
        return metrics | {"fitness/mean": float(np.mean([f.mean() for f in own]))}

    def _program_metrics(self, results: Sequence[Rollouts]) -> dict[str, float]:
        """Shares of valid and of unique programs by terrain, and how often each failure occurred."""
        metrics: dict[str, float] = {}
        for k, name in enumerate(self.terrains):
            rows = [(r, i) for r in results for i in np.flatnonzero(r.terrain == k)]
            metrics[f"valid/{name}"] = float(np.mean([r.failures[i][0] is None for r, i in rows]))
            metrics[f"unique/{name}"] = len({r.programs[i] for r, i in rows}) / len(rows)
        kinds = [row[0] for r in results for row in r.failures if row[0]]
        # A kind that has occurred goes on as 0: a curve without points would look as if it had stayed where it was.
        known = [key for key in self.history[-1] if key.startswith("failures/")] if self.history else []
        return (
            metrics | dict.fromkeys(known, 0.0) | {f"failures/{k}": float(kinds.count(k)) for k in sorted(set(kinds))}
        )

    def _by_terrain(self, stats: Mapping[str, float]) -> dict[str, float]:
        """The learner's statistics, terrain indices replaced by names."""
        renamed = {}
        for key, value in stats.items():
            head, _, tail = key.rpartition("/")
            renamed[f"{head}/{self.terrains[int(tail)]}" if tail.isdigit() else key] = value
        return renamed

    def _says_what_diverged(self, error: NotFiniteError) -> str:
        names = ", ".join(self.terrains[k] for k in error.terrains) or "all terrains"
        where = f"step {self.step + 1}" if self.stage == "steps" else self.stage.replace("_", " ")
        remedy = "look at the language model's weights, or set compute.dtype to float32"
        if self.stage != STAGES[0]:
            remedy = f"lower optimizer.kwargs.lr, now {self.config.optimizer.kwargs.lr:g}, or method.init_kl_coef"
        return f"{where}, {names}: {error.what} is NaN or infinite; {remedy}"

    def _record(self, metrics: dict[str, Any], show: bool = True) -> None:
        entry = {"step": self.step, **metrics, "seconds": self.seconds}
        self.history.append(entry)
        self.tracker.log({k: v for k, v in entry.items() if isinstance(v, int | float)}, self.step)
        if show:
            self.display.step(entry)

    def _warn(self) -> None:
        """Says in words what a curve hides, once when it begins."""
        steps = [h for h in self.history if h["phase"] == "steps"]
        before = diagnostics(steps[:-1], self.terrains)
        for kind, words in diagnostics(steps, self.terrains).items():
            if kind not in before:
                self.display.message(words)


def _summed(prefix: str, counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Counts of the same name added up."""
    names = dict.fromkeys(name for each in counts for name in each)
    return {f"{prefix}/{name}": float(sum(each.get(name, 0) for each in counts)) for name in names}
