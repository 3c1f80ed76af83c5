"""Workers and a world, small enough to know exactly what they do. Ray's actors import them from here."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from softprompt.finite import NotFiniteError
from terrains.base import Attempt, Score, Terrain
from terrains.errors import WorldError
from terrains.niches import Niches

INSTRUCTION = "import math\n"


class DrawingWorker:
    """Draws its tokens from the request's seed, and can be told by a seed to misbehave.

    A seed below 0 is a bad deed, done while the file ``deeds/<request id>`` is not there, or every time without deeds.
    The file says which process has done it.
    """

    RAISE, HANG, EXIT = -1, -2, -3

    def __init__(
        self,
        weights: np.ndarray,
        seconds: float = 0.0,
        deeds: str | None = None,
        broken: str = "",
        alone: bool = False,
    ) -> None:
        if broken:
            raise ValueError(broken)
        if alone:
            try:
                (Path(deeds or ".") / "alone").touch(exist_ok=False)
            except FileExistsError:
                time.sleep(3)  # longer than the first takes to be up
                raise ValueError("there is one already") from None
        self.weights, self.seconds, self.deeds = weights, seconds, deeds

    def generate(self, request: RolloutRequest, state: PromptState) -> Rollouts:
        """Answers, unless the seed says otherwise."""
        time.sleep(self.seconds)
        if request.seed < 0 and not self._done(request.id):
            self._misbehave(request.seed)
        b, length = request.size, 4
        generator = np.random.default_rng(abs(request.seed))
        return Rollouts(
            request_id=request.id,
            version=state.version,
            ids=generator.integers(0, 100, (b, length)),
            mask=np.ones((b, length), dtype=bool),
            logprobs=np.zeros((b, length), dtype=np.float32),
            terrain=np.repeat([terrain for terrain, _ in request.groups], [count for _, count in request.groups]),
            programs=[f"pid {os.getpid()} writeable {self.weights.flags.writeable} {os.environ.get('OMP_NUM_THREADS')}"]
            * b,
            rewards=np.full((b, 1), float(self.weights.sum())),
            fitness=np.zeros((b, 1)),
            failures=[[None]] * b,
        )

    def _done(self, request_id: int) -> bool:
        if self.deeds is None:
            return False
        mark = Path(self.deeds) / str(request_id)
        done = mark.exists()
        if not done:
            (mark.parent / f".{mark.name}").write_text(str(os.getpid()))
            (mark.parent / f".{mark.name}").rename(mark)  # whoever sees it can read it
        return done

    def _misbehave(self, deed: int) -> None:
        if deed == self.RAISE:
            raise KeyError("no such token\nat all")
        if deed == self.HANG:
            time.sleep(600)
        os._exit(1)

    def close(self) -> None:
        """Leaves a mark that the worker was told to end."""
        if self.deeds:
            (Path(self.deeds) / f"closed-{os.getpid()}").touch()


class LetterWorld:
    """Pays for every occurrence of the terrain's letter; a program without it has failed.

    Programs are told apart by how many of the letters a and e they have.
    """

    name = "letters"
    niches = Niches(names=("a", "e"), cells=(4, 4), low=(0, 0), high=(8, 8))

    def terrain(self, name: str) -> Terrain:
        """The terrain of a letter."""
        features = np.array([ord(name[0]) % 7, ord(name[0]) % 3], dtype=np.float32)
        return Terrain(name, INSTRUCTION, features, name)

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Counts letters behind the instruction."""
        written = [attempt.program.removeprefix(INSTRUCTION) for attempt in attempts]
        counts = [text.count(attempt.terrain) for text, attempt in zip(written, attempts, strict=True)]
        told = [(float(text.count("a")), float(text.count("e"))) for text in written]
        return [
            Score(float(count), count / 2, None if count else "no letter", descriptors=numbers)
            for count, numbers in zip(counts, told, strict=True)
        ]

    def close(self) -> None:
        """There is nothing to end."""


class DivergingWorker(DrawingWorker):
    """Says at every request that the language model's numbers have broken down behind terrain 1, and counts its answers
    by files in ``deeds``."""

    def generate(self, request: RolloutRequest, state: PromptState) -> Rollouts:
        """Never answers."""
        assert self.deeds is not None
        (Path(self.deeds) / f"asked-{time.monotonic_ns()}").touch()
        raise NotFiniteError("a token's log-probability", [1])


class StuckWorker(DivergingWorker):
    """Says at every request that the world cannot go on."""

    def generate(self, request: RolloutRequest, state: PromptState) -> Rollouts:
        """Never answers."""
        try:
            super().generate(request, state)
        except NotFiniteError as cause:
            raise WorldError("my_world.py:World: no answer\nfrom its server") from cause
        raise AssertionError


class NoNumbersWorld(LetterWorld):
    """Gives every program with the letter no number: NaN to terrain a, infinity to others."""

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Scores that no world should give."""
        worth = [np.nan if attempt.terrain == "a" else np.inf for attempt in attempts]
        return [
            Score(each, each) if score.valid else score
            for each, score in zip(worth, super().score(attempts), strict=True)
        ]
