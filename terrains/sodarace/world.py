"""The sodarace world: programs become walkers, walkers run, distance is fitness."""

from __future__ import annotations

import hashlib
import math
import os
from collections import OrderedDict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from terrains.base import Attempt, Score, Terrain
from terrains.sodarace import failures
from terrains.sodarace.ground import Ground, canonical_name, make_ground, parse_name
from terrains.sodarace.physics import VERSION, fits, simulate
from terrains.sodarace.sandbox import Outcome, Sandbox, SandboxLimits
from terrains.sodarace.styles import INSTRUCTION
from terrains.sodarace.walker import InvalidWalker, Walker, validate_walker


class WorldConfig(BaseModel):
    """Settings of the sodarace world."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seconds: float = Field(20.0, gt=0)
    """Simulated time of a run."""
    reward_scale: float = Field(100.0, gt=0)
    """A valid walker's reward is its fitness divided by this."""
    failure_reward: float = -0.1
    """Reward of every failure."""
    min_fitness: float = Field(1.0, ge=0)
    """A walker that travels less, in world units, did not move."""
    threads: int = Field(1, ge=0)
    """Programs and simulations run side by side; 0 for one on each processor."""
    cache: int = Field(20_000, ge=0)
    """Scores remembered, by program and terrain."""
    limits: SandboxLimits = SandboxLimits()
    """What a program may use."""


class SodaraceWorld:
    """Scores programs by how far their walkers travel.

    Args:
        config: settings; the defaults if None.
    """

    name = "sodarace"

    def __init__(self, config: WorldConfig | None = None) -> None:
        self.config = config or WorldConfig()
        self._threads = self.config.threads or os.cpu_count() or 1
        self._sandbox = Sandbox(self.config.limits, self._threads)
        self._grounds: dict[str, Ground] = {}
        self._terrains: dict[str, Terrain] = {}
        self._scores: OrderedDict[tuple[str, str], Score] = OrderedDict()

    def terrain(self, name: str) -> Terrain:
        """Returns the terrain of that name, such as ``tunnel`` or ``bumpy(amplitude=4, seed=3)``.

        Raises:
            ValueError: no such family or parameter; the message names the nearest one.
        """
        if name not in self._terrains:
            family, parameters = parse_name(name)
            ground = make_ground(family, parameters)
            rules = (VERSION, self.config.seconds, self.config.min_fitness, self.config.limits, ground.fingerprint())
            fingerprint = hashlib.sha256(repr(rules).encode()).hexdigest()
            self._grounds[name] = ground
            self._terrains[name] = Terrain(
                canonical_name(family, parameters), INSTRUCTION, ground.features(), fingerprint
            )
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

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Returns one Score per attempt, in order, whatever the programs do.

        Equal programs are run once, equal attempts simulated once.
        """
        keys = [(a.program, self.terrain(a.terrain).fingerprint) for a in attempts]
        fresh = {key: a.terrain for key, a in zip(keys, attempts, strict=True) if key not in self._scores}
        found = self._score_new(fresh)
        scores = [found[key] if key in found else self._scores[key] for key in keys]
        self._remember(found)
        return scores

    def close(self) -> None:
        """Ends the sandbox's subprocesses. Safe to call twice."""
        self._sandbox.close()

    def _score_new(self, attempts: dict[tuple[str, str], str]) -> dict[tuple[str, str], Score]:
        programs = list(dict.fromkeys(program for program, _ in attempts))
        outcomes = self._sandbox.run_many(programs)
        walkers = {p: self._walker(o) for p, o in zip(programs, outcomes, strict=True)}
        found: dict[tuple[str, str], Score] = {}
        runs: list[tuple[tuple[str, str], Walker, Ground]] = []
        for key, terrain in attempts.items():
            walker, ground = walkers[key[0]], self._grounds[terrain]
            if isinstance(walker, Score):
                found[key] = walker
            elif not fits(walker, ground):
                found[key] = self._failure(failures.DOES_NOT_FIT, f"the walker does not fit the start of {terrain}")
            else:
                runs.append((key, walker, ground))
        way = simulate([w for _, w, _ in runs], [g for _, _, g in runs], self.config.seconds, self._threads)
        return found | {key: self._travelled(float(d)) for (key, _, _), d in zip(runs, way, strict=True)}

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

    def _remember(self, found: dict[tuple[str, str], Score]) -> None:
        self._scores.update(found)
        while len(self._scores) > self.config.cache:
            self._scores.popitem(last=False)
