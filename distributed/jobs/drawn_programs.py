"""Programs that ``write`` draws and scores: a few, or as many different ones as are asked for; and as a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from distributed.config.section import LARGEST_SEED
from distributed.errors import UserError
from distributed.infra.numbers import fitness_text
from distributed.jobs.writers import Writer
from terrains.base import Attempt, Score
from terrains.errors import WorldError

TRIES = 16
"""Programs that are drawn at most for each that is asked for, where several are."""

AT_ONCE = 32
"""Programs drawn side by side at most."""


@dataclass(frozen=True)
class Drawn:
    """A program, and what it scored.

    Attributes:
        seed: with which ``write`` draws it alone.
        program: the whole text.
        score: None where there was no world to score it.
    """

    seed: int
    program: str
    score: Score | None

    @property
    def valid(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return self.score is None or self.score.valid

    @property
    def outcome(self) -> str:
        """What programs share that are the same: what the world calls their outcome, or else the text."""
        return f"o{self.score.identity}" if self.score and self.score.identity else f"t{self.program}"


def drawn_by(writer: Writer, seeds: Sequence[int]) -> list[Drawn]:
    """Returns a program for each seed, scored where there is a world.

    Raises:
        UserError: the world cannot go on, or the prompt is damaged.
    """
    written = writer.draw(seeds)
    scores: list[Score] | list[None] = [None] * len(written)
    if writer.world is not None:
        name = writer.terrain.name
        try:
            scores = writer.world.score([Attempt(name, w.program, output_ids=w.output_ids) for w in written])
        except WorldError as error:
            raise UserError(str(error)) from None
    return [Drawn(s, w.program, score) for s, w, score in zip(seeds, written, scores, strict=True)]


def different(writer: Writer, seed: int, count: int) -> tuple[list[Drawn], list[Drawn]]:
    """Draws programs until so many of them are valid and have different outcomes, or 16 times as many were drawn.

    Args:
        writer: draws them; the seeds that follow one another take its prompts in turn.
        seed: the first one's.
        count: how many are wanted.

    Returns:
        The different ones, and all that were looked at, both in order.
    """
    seeds = [(seed + k) % (LARGEST_SEED + 1) for k in range(TRIES * count)]
    found: dict[str, Drawn] = {}
    tried: list[Drawn] = []
    batch = min(count, AT_ONCE)
    for first in range(0, len(seeds), batch):
        for each in drawn_by(writer, seeds[first : first + batch]):
            tried.append(each)
            if each.valid:
                found.setdefault(each.outcome, each)
            if len(found) == count:
                return list(found.values()), tried
    return list(found.values()), tried


def as_text(drawn: Sequence[Drawn]) -> str:
    """Returns programs as a person reads them; above each of several stands a line that says which it is."""
    if len(drawn) == 1:
        return drawn[0].program
    parts = []
    for k, each in enumerate(drawn, 1):
        fitness = f", fitness {fitness_text(each.score.fitness)}" if each.score else ""
        parts.append(f"# {k} of {len(drawn)}: seed {each.seed}{fitness}\n{each.program}")
    return "\n\n".join(parts)


def as_json(drawn: Sequence[Drawn]) -> str:
    """Returns programs as a JSON list of ``seed``, ``program``, ``fitness`` and ``failure``; null for what is none."""
    said = [
        {
            "seed": each.seed,
            "program": each.program,
            "fitness": each.score.fitness if each.score else None,
            "failure": each.score.failure if each.score else None,
        }
        for each in drawn
    ]
    return json.dumps(said, indent=1, ensure_ascii=False)
