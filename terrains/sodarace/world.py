"""The sodarace world: programs become walkers, walkers run, distance is fitness."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from types import TracebackType

from terrains.base import Attempt, Score, Terrain
from terrains.scene import Scene
from terrains.sodarace import failures
from terrains.sodarace.canonical import NICHES, descriptors, identity
from terrains.sodarace.ground import catalogue
from terrains.sodarace.ground.geometry import PROFILES, Ground
from terrains.sodarace.ground.names import canonical_name, grounds_from_files, make_ground
from terrains.sodarace.instruction import INSTRUCTION
from terrains.sodarace.kernel import DT
from terrains.sodarace.physics import NODE_RADIUS, VERSION, fits, simulate, trace
from terrains.sodarace.sandbox import Outcome, Sandbox
from terrains.sodarace.score_cache import Key, ScoreCache, cache_key
from terrains.sodarace.scoring_counts import Done, Job, ScoringCounts
from terrains.sodarace.settings import WorldConfig
from terrains.sodarace.walker import InvalidWalker, Walker, validate_walker


class SodaraceWorld:
    """Scores programs by how far their walkers travel.

    Args:
        config: settings; the defaults if None.
        grounds: grounds by their terrains' canonical names, for terrains from files that only another machine has.

    Attributes:
        counts: what it did since it was made.
    """

    name = "sodarace"
    fitness_unit = "units"
    niches = NICHES
    Config = WorldConfig
    canonical_name = staticmethod(catalogue.canonical_name)
    sample_terrains = staticmethod(catalogue.sample_terrains)

    def __init__(self, config: WorldConfig | None = None, grounds: Mapping[str, Ground] | None = None) -> None:
        self.config = config or WorldConfig()
        self._given = dict(grounds or {})
        self.counts = ScoringCounts()
        self._threads = self.config.threads or os.cpu_count() or 1
        self._sandbox = Sandbox(self.config.limits, self._threads)
        self._grounds: dict[str, Ground] = {}
        self._terrains: dict[str, Terrain] = {}
        self._cache = ScoreCache(self.config.cache)
        self._crew: ThreadPoolExecutor | None = None

    def terrain(self, name: str) -> Terrain:
        """Returns the terrain of that name, such as ``tunnel`` or ``tunnel+bumpy(amplitude=4, seed=3)``.

        Raises:
            ValueError: no such family or parameter; the message names the nearest one. Or a file is not there or holds
                no ground, or the parts of the name do not go together.
        """
        if name not in self._terrains:
            canonical = canonical_name(name)
            ground = self._given.get(canonical) or make_ground(name)
            rules = (VERSION, self.config.seconds, self.config.min_fitness, self.config.limits, ground.fingerprint())
            fingerprint = hashlib.sha256(repr(rules).encode()).hexdigest()
            self._grounds[name] = ground
            self._terrains[name] = Terrain(canonical, INSTRUCTION, ground.features(), fingerprint, PROFILES)
        return self._terrains[name]

    def ground(self, name: str) -> Ground:
        """Returns the ground of that terrain; raises as `terrain` does."""
        self.terrain(name)
        return self._grounds[name]

    def walker(self, program: str) -> Walker:
        """Runs one program and returns its walker.

        Raises:
            ValueError: the program fails or returns no valid walker; the message is one line.
        """
        outcome = self._sandbox.run(program)
        walker = self._walker(outcome)
        if isinstance(walker, Score):
            raise ValueError(f"{walker.failure}: {walker.detail}")
        return walker

    def scene(self, terrain: str, program: str, seconds_per_frame: float = 2 * DT) -> Scene:
        """Simulates a program's walker again and records it, a frame every few steps of the simulation.

        Raises:
            ValueError: it has no walker that can be simulated there; the message is one line.
        """
        walker, ground = self.walker(program), self.ground(terrain)
        if not fits(walker, ground):
            raise ValueError(f"{failures.DOES_NOT_FIT}: the walker does not fit the start of {terrain}")
        every = max(1, round(seconds_per_frame / DT))
        points = trace(walker, ground, self.config.seconds, every)
        return Scene(points, walker.muscles, walker.rigid, ground.floor, ground.ceiling, every * DT, NODE_RADIUS)

    def luggage(self, names: Sequence[str]) -> dict[str, dict[str, Ground]]:
        """Returns the grounds that are read from files, as the argument ``grounds``; raises as `terrain` does."""
        return {"grounds": grounds_from_files(names)}

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Returns one Score per attempt, in order, whatever the programs do.

        Equal programs are run once, equal attempts simulated once, and what the cache remembers is not run at all.
        """
        keys = [cache_key(a.program, self.terrain(a.terrain).fingerprint) for a in attempts]
        scores: dict[Key, Score] = {}
        jobs: dict[str, dict[Key, str]] = {}
        for key, attempt in zip(keys, attempts, strict=True):
            known = scores.get(key) or self._cache.get(key)
            if known is None:
                jobs.setdefault(attempt.program, {})[key] = attempt.terrain
            elif key not in scores:
                scores[key] = known
                self.counts.remembered += 1
        self.counts.attempts += len(attempts)
        for done in self._side_by_side(list(jobs.items())):
            scores |= done.scores
            self.counts.add(done)
            for key, score in done.scores.items():
                self._cache.put(key, score)
        return [scores[key] for key in keys]

    def counters(self) -> dict[str, float]:
        """Returns what this world did since it was made, by name; see `ScoringCounts`."""
        return asdict(self.counts)

    def close(self) -> None:
        """Ends the sandbox's subprocesses. Safe to call twice."""
        if self._crew is not None:
            self._crew.shutdown()
            self._crew = None
        self._sandbox.close()

    def __enter__(self) -> SodaraceWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _side_by_side(self, jobs: Sequence[Job]) -> Iterable[Done]:
        """Does every job, from its text to its scores, on as many threads as there are.

        While one thread waits for the sandbox's subprocess another one simulates without Python's lock, so that
        every processor has work until the last program.
        """
        if self._threads == 1 or len(jobs) < 2:
            return map(self._score_program, jobs)
        if self._crew is None:
            self._crew = ThreadPoolExecutor(self._threads, thread_name_prefix="scoring")
        return self._crew.map(self._score_program, jobs)

    def _score_program(self, job: Job) -> Done:
        """Runs one program, and its walker on each terrain asked for."""
        program, wanted = job
        began = time.perf_counter()
        walker = self._walker(self._sandbox.run(program))
        ran = time.perf_counter()
        scores: dict[Key, Score] = {}
        runs: dict[Key, Ground] = {}
        for key, name in wanted.items():
            if isinstance(walker, Score):
                scores[key] = walker
            elif not fits(walker, self._grounds[name]):
                detail = f"the walker does not fit the start of {self._terrains[name].name}"
                scores[key] = self._failure(failures.DOES_NOT_FIT, detail)
            else:
                runs[key] = self._grounds[name]
        if isinstance(walker, Walker) and runs:
            ways = simulate([walker] * len(runs), list(runs.values()), self.config.seconds)
            scores |= {key: self._travelled(float(way)) for key, way in zip(runs, ways, strict=True)}
        if isinstance(walker, Walker):
            numbers, name = descriptors(walker), identity(walker)
            scores = {key: replace(score, descriptors=numbers, identity=name) for key, score in scores.items()}
        return Done(scores, len(runs), ran - began, time.perf_counter() - ran)

    def _walker(self, outcome: Outcome) -> Walker | Score:
        if outcome.failure:
            return self._failure(outcome.failure, outcome.detail)
        try:
            return validate_walker(outcome.value)
        except InvalidWalker as error:
            kind = failures.NOT_A_WALKER if error.rule == failures.NOT_A_WALKER else failures.INVALID_WALKER
            return self._failure(kind, f"{error.rule}: {error}")

    def _travelled(self, displacement: float) -> Score:
        fitness = abs(displacement)
        if not math.isfinite(fitness):
            return self._failure(failures.UNSTABLE, "the simulation of the walker blew up")
        if fitness < self.config.min_fitness:
            return self._failure(failures.DID_NOT_MOVE, f"the walker travelled {fitness:.2f} units")
        return Score(fitness / self.config.reward_scale, fitness)

    def _failure(self, kind: str, detail: str) -> Score:
        return Score(self.config.failure_reward, 0.0, kind, detail)
