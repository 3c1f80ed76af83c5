"""Stage 1: a corpus of programs whose walkers are valid and move.

Generation 0 draws programs from the styles; every later one mutates programs that were kept, half of the parents
drawn at random and half from the best on some terrain, so that the corpus is broad and has a tail worth steering
towards.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from terrains.base import Attempt, World
from terrains.sodarace.mutation import mutate
from terrains.sodarace.styles import STYLES


class CorpusConfig(BaseModel):
    """Settings of Stage 1; the defaults make the corpus of the bundled model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    programs: int = Field(50_000, ge=1)
    """Unique programs to keep."""
    terrains: tuple[str, ...] = ("left_wall", "right_wall", "tunnel", "bumpy")
    """Terrains that every program is scored on."""
    random_share: float = Field(0.6, gt=0, le=1)
    """Share of the corpus drawn from the styles; mutation makes the rest."""
    min_fitness: float = Field(5.0, ge=0)
    """A program is kept when it travels that far, in world units, on at least one terrain."""
    elite_share: float = Field(0.05, gt=0, le=1)
    """Half of the parents come from this top share of a terrain."""
    max_characters: int = Field(1200, ge=100)
    """Longer programs are not kept."""
    batch: int = Field(2000, ge=1)
    """Programs scored in one call."""
    seed: int = 0
    """Seed of every draw."""


@dataclass(frozen=True)
class CorpusProgram:
    """One program of the corpus.

    Attributes:
        program: its text.
        style: the style that it, or its first ancestor, was drawn from.
        parent: index of the parent in the corpus, or None.
        fitness: units travelled, by terrain.
    """

    program: str
    style: str
    parent: int | None
    fitness: dict[str, float]


class CorpusBuilder:
    """Draws, mutates, scores and keeps.

    Args:
        world: scores programs.
        config: settings.

    Attributes:
        kept: the corpus so far.
        tried: programs drawn or mutated so far.
        failures: how many of them were not kept, by reason: a failure kind, ``too_slow_or_still``, ``repeat``,
            ``too_long``, or ``surplus`` for the good ones that the last batch held beyond the corpus' size.
    """

    def __init__(self, world: World, config: CorpusConfig) -> None:
        self.world = world
        self.config = config
        self.kept: list[CorpusProgram] = []
        self.tried = 0
        self.failures: dict[str, int] = {}
        self._rng = random.Random(config.seed)
        self._seen: set[str] = set()

    def run(self) -> Iterator[int]:
        """Works until the corpus is full; yields its size after each batch."""
        while len(self.kept) < self.config.programs:
            drawn = len(self.kept) < self.config.programs * self.config.random_share
            offers = [self._draw() if drawn else self._mutate() for _ in range(self.config.batch)]
            self.tried += len(offers)
            self._keep([o for o in offers if self._new(o[0])])
            yield len(self.kept)

    def correlations(self) -> np.ndarray:
        """Pearson correlation of fitness between terrains over the corpus, shape (n_terrains, n_terrains)."""
        table = np.array([[p.fitness[t] for t in self.config.terrains] for p in self.kept])
        return np.corrcoef(table.T)

    def _new(self, program: str) -> bool:
        if len(program) > self.config.max_characters or program in self._seen:
            self._leave_out("repeat" if program in self._seen else "too_long")
            return False
        self._seen.add(program)
        return True

    def _leave_out(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def _draw(self) -> tuple[str, str, int | None]:
        style = self._rng.choice(list(STYLES))
        return STYLES[style](self._rng), style, None

    def _mutate(self) -> tuple[str, str, int | None]:
        parent = self._elite() if self._rng.random() < 0.5 else self._rng.randrange(len(self.kept))
        source = self.kept[parent]
        return mutate(source.program, self._rng, self._rng.randint(1, 3)), source.style, parent

    def _elite(self) -> int:
        """A parent from the top of one terrain, by a tournament as wide as ``elite_share`` asks."""
        terrain = self._rng.choice(self.config.terrains)
        rivals = [self._rng.randrange(len(self.kept)) for _ in range(max(1, round(1 / self.config.elite_share)))]
        return max(rivals, key=lambda i: self.kept[i].fitness[terrain])

    def _keep(self, offers: Sequence[tuple[str, str, int | None]]) -> None:
        names = self.config.terrains
        scores = self.world.score([Attempt(t, program) for program, _, _ in offers for t in names])
        for k, (program, style, parent) in enumerate(offers):
            own = scores[k * len(names) : (k + 1) * len(names)]
            fitness = {t: round(s.fitness, 2) for t, s in zip(names, own, strict=True)}
            if max(fitness.values()) < self.config.min_fitness:
                self._leave_out(next((s.failure for s in own if s.failure), None) or "too_slow_or_still")
            elif len(self.kept) == self.config.programs:
                self._leave_out("surplus")
            else:
                self.kept.append(CorpusProgram(program, style, parent, fitness))


def write_corpus(path: Path, programs: Sequence[CorpusProgram]) -> None:
    """Writes the corpus as JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(p)) + "\n" for p in programs)
    part.replace(path)


def read_corpus(path: Path) -> list[CorpusProgram]:
    """Reads what `write_corpus` wrote.

    Raises:
        ValueError: the file is missing, or a line is not a corpus program.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return [CorpusProgram(**json.loads(line)) for line in file]
    except FileNotFoundError:
        raise ValueError(f"no corpus at {path}: make one with `terraprompt corpus --out {path}`") from None
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} is not a corpus: {error}") from None
