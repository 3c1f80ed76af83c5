"""The words every world shares: Terrain, Instruction, Attempt, Score and World.

What a world may add to these is in :mod:`terrains.optional`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Instruction:
    """What the language model reads behind a soft prompt before it writes.

    Attributes:
        text: the hard prompt.
        metadata: what a world needs to score what is written behind it, such as the right answer; JSON-like data.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


def _no_features() -> np.ndarray:
    return np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class Terrain:
    """One task of a world: one soft prompt is trained for it, behind which all its instructions are read.

    Attributes:
        name: canonical name, for example ``bumpy(amplitude=12,seed=3)``; naming it again gives the same terrain.
        instruction: the hard prompt, where there is one alone; else the text of the first of ``instructions``.
        features: vector that a terrain embedding network reads, shape (n_features,), float32; empty for none.
        fingerprint: hex digest of everything that decides a program's score on this terrain; left out, of the name and
            the instructions.
        profiles: of how many profiles the features consist, one behind the other and equally long.
        instructions: what programs are written behind while the prompt is trained; left out, ``instruction`` alone.
        eval_instructions: what they are written behind when the prompt is evaluated; left out, the same.
    """

    name: str
    instruction: str = ""
    features: np.ndarray = field(default_factory=_no_features)
    fingerprint: str = ""
    profiles: int = 1
    instructions: tuple[Instruction, ...] = ()
    eval_instructions: tuple[Instruction, ...] = ()

    def __post_init__(self) -> None:
        if not self.instructions:
            object.__setattr__(self, "instructions", (Instruction(self.instruction),))
        object.__setattr__(self, "instruction", self.instructions[0].text)
        if not self.fingerprint:
            every = [[each.text, dict(each.metadata)] for each in self.all_instructions]
            said = json.dumps([self.name, every], sort_keys=True, default=repr)
            object.__setattr__(self, "fingerprint", hashlib.sha256(said.encode()).hexdigest())

    @property
    def all_instructions(self) -> tuple[Instruction, ...]:
        """Those of training and, behind them, those of evaluation; an attempt's ``instruction`` counts in these."""
        return self.instructions + self.eval_instructions

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Terrain) and (self.name, self.fingerprint) == (other.name, other.fingerprint)


@dataclass(frozen=True)
class Attempt:
    """A program offered to a terrain.

    Attributes:
        terrain: the terrain's name.
        program: the whole text that the language model wrote, its instruction included.
        instruction: which of the terrain's ``all_instructions`` it was written behind.
        output_ids: the tokens that were sampled, the end token included; empty where the text comes from elsewhere.
    """

    terrain: str
    program: str
    instruction: int = 0
    output_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Score:
    """What a world says of one attempt. A bad program is a Score too, never an exception.

    Attributes:
        reward: what the learner maximises, always finite; the sum of ``token_rewards`` where there are such.
        fitness: the world's own measure (sodarace: units travelled), 0 for a failure.
        failure: the failure kind, or None for a valid program.
        detail: one short line a person can read, empty for a valid program.
        token_rewards: a reward for each of the attempt's ``output_ids``; empty for one reward at the end.
        descriptors: numbers that tell kinds of programs apart, as the world's ``niches`` name them; empty for none.
        identity: a text that programs with the same outcome share, such as a digest of the walker; empty where every
            text is a program of its own.
    """

    reward: float
    fitness: float
    failure: str | None = None
    detail: str = ""
    token_rewards: tuple[float, ...] = ()
    descriptors: tuple[float, ...] = ()
    identity: str = ""

    @property
    def valid(self) -> bool:
        """Whether the program did what the world asks of every program."""
        return self.failure is None


class World(Protocol):
    """A kind of task: names terrains and scores attempts on them. What it may add is in :mod:`terrains.optional`."""

    name: str

    def terrain(self, name: str) -> Terrain:
        """Returns the terrain of that name.

        Raises:
            ValueError: no such terrain; the message names the nearest one.
        """
        ...

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Returns one Score per attempt, in order, whatever the programs do."""
        ...

    def close(self) -> None:
        """Ends the world's subprocesses. Safe to call twice."""
        ...
