"""Stage 1: MAP-Elites over programs (Mouret & Clune 2015; Lehman et al. 2022, section 5).

The first programs are drawn from the styles. Then parents are drawn from the archives' elites and mutated, some of them
joined with a second parent, and a few are still drawn anew. What comes near enough to the best of its niche is kept.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from terrains.sodarace.map_elites.archive import Archives
from terrains.sodarace.map_elites.corpus import CorpusConfig, CorpusProgram
from terrains.sodarace.map_elites.evaluation import Evaluation, Evaluator
from terrains.sodarace.programs.mutation import mutate
from terrains.sodarace.programs.styles import STYLES

MOST_OFFERS = 10
"""Programs made for each one evaluated before a generation is left smaller, because most are repeats."""


@dataclass(frozen=True)
class Offer:
    """A program to be evaluated, and where it comes from."""

    program: str
    style: str
    parents: tuple[int, ...] = ()
    operators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generation:
    """What a generation came to.

    Attributes:
        number: counted from 0.
        kept: programs that were near enough to their niche's best when they came.
        forgotten: digests of the other programs made, so that they are not tried again.
        tried: programs made so far.
        evaluated: programs evaluated so far.
        valid: how many of those have a walker that moves on one terrain or more.
        left_out: how many of those made so far were not kept, by reason.
        coverage: share of the niches that have an elite, by group.
        qd_score: summed fitness of the elites, by group.
    """

    number: int
    kept: tuple[CorpusProgram, ...]
    forgotten: tuple[str, ...]
    tried: int
    evaluated: int
    valid: int
    left_out: dict[str, int]
    coverage: dict[str, float]
    qd_score: dict[str, float]


class Evolution:
    """Runs Stage 1 generation by generation. Equal settings give equal programs, interrupted or not.

    A generation's programs follow from its number and from what was kept before it. So an interrupted one is made anew,
    and what was evaluated of it already is not evaluated again.

    Args:
        evaluator: evaluates programs on ``config.terrains``.
        config: settings.

    Attributes:
        kept: programs by number that were near enough to their niche's best when they came.
        archives: the elites.
        tried: programs made so far.
        evaluated: programs evaluated in whole generations so far.
        valid: how many of those have a walker that moves on one terrain or more.
        under_way: evaluations of the generation that is not whole yet.
        left_out: how many were not kept, by reason: a failure kind, ``repeat``, ``too_long``, ``too_slow`` (below
            ``min_fitness`` everywhere), ``same_walker`` (another text for a walker that is there), or ``outdone``
            (below the share of its niche's best).
        history: coverage and QD score after each generation.
    """

    def __init__(self, evaluator: Evaluator, config: CorpusConfig) -> None:
        self.evaluator = evaluator
        self.config = config
        self.archives = Archives(config.named_groups, config.terrains, config.niches, config.min_fitness)
        self.kept: dict[int, CorpusProgram] = {}
        self.tried = self.evaluated = self.valid = 0
        self.under_way: list[Evaluation] = []
        self.left_out: Counter[str] = Counter()
        self.history: list[dict] = []
        self._seen: set[str] = set()
        self._walkers: set[tuple] = set()

    def run(self, on_evaluations: Callable[[Sequence[Evaluation]], None] | None = None) -> Iterator[Generation]:
        """Works until the evaluations are spent, or nothing new is found; yields what each generation came to.

        Args:
            on_evaluations: called with each chunk of evaluations as it comes in.
        """
        before = -1
        while before < self.evaluated < self.config.evaluations:
            before = self.evaluated
            yield self._generation(on_evaluations or (lambda evaluations: None))

    def restore(self, generations: Sequence[Generation], under_way: Sequence[Evaluation] = ()) -> None:
        """Takes up the work of an interrupted run with the same settings.

        Args:
            generations: what its whole generations came to.
            under_way: evaluations of the generation after them, in order.
        """
        for generation in generations:
            self._admit(list(generation.kept))
            self._seen.update(generation.forgotten, map(_digest, (p.program for p in generation.kept)))
            self.tried, self.evaluated, self.valid = generation.tried, generation.evaluated, generation.valid
            self.left_out = Counter(generation.left_out)
            self._remember_figures()
        self.under_way = list(under_way)

    def corpus(self) -> tuple[list[CorpusProgram], dict[str, int]]:
        """Returns the corpus so far, and how many of ``kept`` it leaves out, by reason.

        These are ``outdone``, by programs that came later, and ``surplus``, beyond the corpus' size: the nearest to
        their niche's best go first.
        """
        programs = list(self.kept.values())
        if not programs:
            return [], {}
        niche, fitness = np.array([p.niche for p in programs]), self._fitness(programs)
        shares = self.archives.shares(fitness, niche)
        good = np.flatnonzero(shares >= self.config.niches.keep_above)
        chosen = np.sort(good[np.argsort(-shares[good], kind="stable")][: self.config.programs])
        rows = [
            replace(p, niche_best=self.archives.best_of(p.niche), share=round(float(shares[k]), 4))
            for k, p in ((k, programs[k]) for k in chosen)
        ]
        dropped = {"outdone": len(programs) - len(good), "surplus": len(good) - len(chosen)}
        return rows, {reason: n for reason, n in dropped.items() if n}

    def _generation(self, on_evaluations: Callable[[Sequence[Evaluation]], None]) -> Generation:
        config, number = self.config, len(self.history)
        rng = random.Random(f"{config.seed}/{number}")
        count = max(min(config.generation, config.evaluations - self.evaluated), len(self.under_way))
        offers: list[Offer] = []
        for evaluations in self.evaluator.evaluate(self._chunks(count, rng, offers)):
            self.under_way += evaluations
            on_evaluations(evaluations)
        candidates = self._candidates(offers, self.under_way)
        self.evaluated += len(self.under_way)
        self.valid += sum(e.descriptors is not None for e in self.under_way)
        self.under_way = []
        kept = self._admit(candidates)
        self._remember_figures()
        stayed = {p.program for p in kept}
        forgotten = tuple(_digest(o.program) for o in offers if o.program not in stayed)
        figures = self.history[-1]
        return Generation(
            number, tuple(kept), forgotten, self.tried, self.evaluated, self.valid, dict(self.left_out),
            figures["coverage"], figures["qd_score"],
        )  # fmt: skip

    def _chunks(self, count: int, rng: random.Random, offers: list[Offer]) -> Iterator[list[str]]:
        """Makes new programs until there are enough, and notes them in ``offers`` as they go out.

        Those evaluated before an interruption are noted only.
        """
        most, known = self.tried + MOST_OFFERS * count, len(self.under_way)
        chunk: list[Offer] = []
        while len(offers) + len(chunk) < count and self.tried < most:
            offer = self._make(rng)
            self.tried += 1
            if self._is_new(offer.program):
                (offers if len(offers) < known else chunk).append(offer)
            if len(chunk) == self.config.chunk:
                offers += chunk
                yield [o.program for o in chunk]
                chunk = []
        offers += chunk
        if chunk:
            yield [o.program for o in chunk]

    def _make(self, rng: random.Random) -> Offer:
        config = self.config
        if self.evaluated < config.drawn_first or not self.kept or rng.random() < config.drawn_share:
            style = rng.choice(list(STYLES))
            return Offer(STYLES[style](rng), style)
        parent = self.kept[self.archives.draw(rng, config.rivals)]
        mate = self.kept[self.archives.draw(rng, config.rivals)] if rng.random() < config.joined_share else None
        strength = rng.choices([1, 2, 3], weights=[6, 3, 1])[0]
        child = mutate(parent.program, rng, strength, mate.program if mate else None)
        parents = (parent.id, mate.id) if mate and child.joined else (parent.id,)
        return Offer(child.program, parent.style, parents, child.operators)

    def _is_new(self, program: str) -> bool:
        digest = _digest(program)
        if digest in self._seen:
            self.left_out["repeat"] += 1
            return False
        self._seen.add(digest)
        if numbers_in(program) > self.config.max_numbers:
            self.left_out["too_long"] += 1
            return False
        return True

    def _candidates(self, offers: Sequence[Offer], found: Sequence[Evaluation]) -> list[CorpusProgram]:
        """The programs among those evaluated whose walkers are new and fast enough."""
        walkers = set(self._walkers)
        candidates = []
        for number, (offer, result) in enumerate(zip(offers, found, strict=True), self.evaluated):
            walker = (result.descriptors, result.fitness)
            if result.descriptors is None:
                self.left_out[result.failure or "too_slow"] += 1
            elif walker in walkers:
                self.left_out["same_walker"] += 1
            elif max(self.archives.objectives(np.array([result.fitness]))[0]) < self.config.min_fitness:
                self.left_out["too_slow"] += 1
            else:
                walkers.add(walker)
                candidates.append(self._program(number, offer, result))
        return candidates

    def _program(self, number: int, offer: Offer, result: Evaluation) -> CorpusProgram:
        assert result.descriptors is not None
        return CorpusProgram(
            offer.program,
            offer.style,
            dict(zip(self.config.terrains, result.fitness, strict=True)),
            number,
            offer.parents,
            offer.operators,
            dict(zip(("height", "width", "mass"), result.descriptors, strict=True)),
            int(self.archives.niche(np.array([result.descriptors]))[0]),
        )

    def _admit(self, programs: list[CorpusProgram]) -> list[CorpusProgram]:
        """Offers programs to the archives; keeps and returns those that are near enough to their niche's best."""
        if not programs:
            return []
        fitness = self._fitness(programs)
        descriptors = np.array([list(p.descriptors.values()) for p in programs])
        self.archives.add(np.array([p.id for p in programs]), fitness, descriptors)
        shares = self.archives.shares(fitness, np.array([p.niche for p in programs]))
        kept = [p for p, share in zip(programs, shares, strict=True) if share >= self.config.niches.keep_above]
        self.left_out["outdone"] += len(programs) - len(kept)
        self.kept.update({p.id: p for p in kept})
        self._walkers.update((tuple(p.descriptors.values()), tuple(p.fitness.values())) for p in kept)
        return kept

    def _fitness(self, programs: Sequence[CorpusProgram]) -> np.ndarray:
        return np.array([[p.fitness[t] for t in self.config.terrains] for p in programs])

    def _remember_figures(self) -> None:
        self.history.append(
            {
                "evaluated": self.evaluated,
                "elites": len(self.archives.elites()),
                "coverage": self.archives.coverage(),
                "qd_score": self.archives.qd_score(),
            }
        )


def numbers_in(program: str) -> int:
    """Numbers of a program as the tokenizer of Stage 2 counts them: digits, and numbers with one decimal."""
    return len(re.findall(r"[0-9]\.[0-9]|[0-9]", program))


def _digest(program: str) -> str:
    return hashlib.blake2b(program.encode(), digest_size=8).hexdigest()
