"""The corpus that Stage 1 makes and Stage 2 reads: its settings, its rows, its file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from terrains.sodarace.map_elites.archive import NicheConfig

ELM_TERRAINS = ("left_wall", "right_wall", "tunnel", "bumpy")


class CorpusConfig(BaseModel):
    """Settings of Stage 1; the defaults make the corpus of the bundled model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    programs: int = Field(50_000, ge=1)
    """Unique programs to keep, at most."""
    evaluations: int = Field(120_000, ge=1)
    """Programs to evaluate, on every terrain each."""
    groups: tuple[tuple[str, ...], ...] = tuple((name,) for name in ELM_TERRAINS)
    """Groups of terrains; each has an archive, whose elites go furthest on its terrains on average."""
    niches: NicheConfig = NicheConfig()
    """The grid of every archive."""
    drawn_first: int = Field(2000, ge=1)
    """Programs drawn from the styles before any is mutated."""
    drawn_share: float = Field(0.1, ge=0, le=1)
    """Share of the styles' programs later on; 1 is random generation."""
    joined_share: float = Field(0.25, ge=0, le=1)
    """Share of the mutated programs that get a part of a second parent."""
    rivals: int = Field(3, ge=1)
    """Elites of random niches, the best of which becomes a parent: with 1 more niches are found, with more the elites
    are better."""
    min_fitness: float = Field(5.0, ge=0)
    """What an elite reaches at least, world units."""
    max_numbers: int = Field(40, ge=10)
    """Longer programs are not evaluated. A number token (a digit, or a number with one decimal) comes with one token of
    other text, so that this is about half of a program's tokens."""
    generation: int = Field(1000, ge=1)
    """Programs evaluated between two looks at the archives."""
    chunk: int = Field(50, ge=1)
    """Programs evaluated in one task."""
    seed: int = 0
    """Seed of every draw."""

    @property
    def terrains(self) -> tuple[str, ...]:
        """Every terrain once, in the order of the groups."""
        return tuple(dict.fromkeys(name for group in self.groups for name in group))

    @property
    def named_groups(self) -> dict[str, tuple[str, ...]]:
        """The groups by their names: their terrains, joined by commas."""
        return {", ".join(group): group for group in self.groups}

    @model_validator(mode="after")
    def _some_terrain(self) -> CorpusConfig:
        if not self.groups or not all(self.groups):
            raise ValueError("groups: every group needs a terrain")
        return self


@dataclass(frozen=True)
class CorpusProgram:
    """One program of the corpus.

    Attributes:
        program: its text.
        style: the style that it, or its first ancestor, was drawn from.
        fitness: units travelled, by terrain.
        id: number in the order of evaluation; not every number is in the corpus.
        parents: ids of the program or the two programs that it was made from; none for one drawn from a style.
        operators: what was done to them, in order.
        descriptors: height, width and mass of its walker in program units.
        niche: number of its cell in the archives.
        niche_best: what the best of that niche reaches at the end, by group of terrains; 0 where there is no elite.
        share: its fitness as a share of its niche's best, in the group where that is greatest.
    """

    program: str
    style: str
    fitness: dict[str, float]
    id: int = 0
    parents: tuple[int, ...] = ()
    operators: tuple[str, ...] = ()
    descriptors: dict[str, float] = field(default_factory=dict)
    niche: int = 0
    niche_best: dict[str, float] = field(default_factory=dict)
    share: float = 1.0


def above(programs: Iterable[CorpusProgram], share: float) -> list[CorpusProgram]:
    """ELM's filter: the programs that reach this share of their niche's best, in one group of terrains or more.

    Lehman et al. 2022, section 6, train on those above 0.5 or 0.8.
    """
    return [p for p in programs if p.share >= share]


def write_corpus(path: Path, programs: Sequence[CorpusProgram]) -> None:
    """Writes the corpus as JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(p)) + "\n" for p in programs)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_corpus(path: Path) -> list[CorpusProgram]:
    """Reads what `write_corpus` wrote.

    Raises:
        ValueError: the file is missing, or a line is not a corpus program.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return [from_row(json.loads(line)) for line in file]
    except FileNotFoundError:
        again = f"terraprompt corpus --out {shlex.quote(str(path))}"
        raise ValueError(f"no corpus at {path}: make one with `{again}`") from None
    except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a corpus: {error}") from None


def from_row(row: dict) -> CorpusProgram:
    """Makes a program from its JSON, in which tuples are lists.

    Raises:
        TypeError: the row is not one of a corpus.
    """
    if not isinstance(row, dict):
        raise TypeError("a line is not an object")
    lists = {name: tuple(row[name]) for name in ("parents", "operators") if name in row}
    return CorpusProgram(**row | lists)
