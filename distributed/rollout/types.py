"""The messages between learner and rollout workers: plain arrays, a few kilobytes a step."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from distributed.rollout.memory import Memory
from distributed.rollout.outcomes import identities


@dataclass(frozen=True)
class LayerWeights:
    """Trained parameters of the language model, where not all of it is frozen; equal where their digests are.

    Attributes:
        digest: a hash of the arrays, by which a worker recognises the layers it holds already.
        arrays: by the parameter's name; uint16 for the bits of bfloat16.
    """

    digest: str
    arrays: Mapping[str, np.ndarray] = field(compare=False, repr=False)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> LayerWeights:
        """Makes them of arrays, which nobody may write to afterwards."""
        digest = hashlib.sha256()
        for name, array in sorted(arrays.items()):
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return cls(digest.hexdigest(), arrays)


@dataclass(frozen=True)
class PromptState:
    """All a worker needs to act as the current policy. Its arrays are never written to once it is sent.

    Attributes:
        version: how many updates the learner had made; a rollout carries it back, which tells its staleness.
        prompts: soft prompts, shape (n_prompts, n_soft_tokens, d), float32; None for the bare language model. Every
            terrain has equally many, which stand side by side in the order of the terrains.
        layers: layers of the language model that are trained too; None where all of it is frozen.
    """

    version: int
    prompts: np.ndarray | None
    layers: LayerWeights | None = None

    def __post_init__(self) -> None:
        if self.prompts is not None and self.prompts.ndim != 3:
            raise ValueError(f"prompts must be (n_prompts, n_soft_tokens, d), not {self.prompts.shape}")


@dataclass(frozen=True)
class RolloutRequest:
    """Programs to write in one batch. Its answer depends on it and the prompt state alone, not on the worker.

    Attributes:
        id: names the request in logs; unique among the requests sent together.
        seed: decides every sample of the request.
        groups: (terrain index, number of programs) pairs; the rows of the answer follow this order.
        instructions: of each group, which of its terrain's ``all_instructions`` its programs are written behind; left
            out, the first.
        slots: of each group, which of its terrain's prompts its programs are written behind; left out, the first.
        use_prompt: False asks the bare language model, which is the baseline of every comparison.
        explore: True draws tokens as training rollouts are drawn (gen_experience_kwargs), False as a user draws them.
        score_on: ``own`` scores a program on its own terrain, ``all`` on every terrain that has the same instructions
            (a row of the transfer matrix).
        try_on: on how many other terrains, drawn by chance, the best valid program of each terrain is tried too.
        measure_on: where the world's own metrics are taken, if it has any: nowhere, or as ``score_on`` says.
    """

    id: int
    seed: int
    groups: tuple[tuple[int, int], ...]
    instructions: tuple[int, ...] = ()
    use_prompt: bool = True
    score_on: Literal["own", "all"] = "own"
    explore: bool = False
    try_on: int = 0
    measure_on: Literal["none", "own", "all"] = "none"
    slots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.groups:
            raise ValueError(f"request {self.id} asks for nothing: groups is empty")
        if any(terrain < 0 or count < 1 for terrain, count in self.groups):
            raise ValueError(f"request {self.id}: a group is (terrain index >= 0, count >= 1), not {self.groups}")
        if len(self.behind) != len(self.groups) or min(self.behind) < 0:
            raise ValueError(
                f"request {self.id}: an instruction >= 0 for each of {len(self.groups)} groups, not {self.instructions}"
            )
        if self.slots and (len(self.slots) != len(self.groups) or min(self.slots) < 0):
            raise ValueError(f"request {self.id}: a slot >= 0 for each of {len(self.groups)} groups, not {self.slots}")
        if self.measure_on not in ("none", "own", "all"):
            raise ValueError(f"request {self.id}: measure_on is 'none', 'own' or 'all', not {self.measure_on!r}")
        if self.score_on not in ("own", "all"):
            raise ValueError(f"request {self.id}: score_on is 'own' or 'all', not {self.score_on!r}")
        if self.try_on and self.score_on == "all":
            raise ValueError(f"request {self.id}: what is scored on all terrains is not tried on them once more")

    @property
    def behind(self) -> tuple[int, ...]:
        """Of each group, which of its terrain's instructions its programs are written behind."""
        return self.instructions or (0,) * len(self.groups)

    @property
    def prompted(self) -> tuple[int, ...]:
        """Of each group, which of its terrain's prompts its programs are written behind."""
        return self.slots or (0,) * len(self.groups)

    @property
    def size(self) -> int:
        """Number of programs asked for."""
        return sum(count for _, count in self.groups)


def split_requests(groups: Sequence[tuple[int, int]], size: int) -> list[tuple[tuple[int, int], ...]]:
    """Cuts programs to write into parts of about one size.

    A part has its share of every terrain. Where there are fewer programs a terrain than parts, it has as few terrains
    as possible instead, since a worker reads the prompt of each before it writes.

    Args:
        groups: (terrain index, number of programs) pairs.
        size: programs a part, about.

    Returns:
        The groups of each part, none of them empty.
    """
    total = sum(n for _, n in groups)
    count = -(-total // size)
    if min(n for _, n in groups) >= count:
        return [tuple((t, n * (k + 1) // count - n * k // count) for t, n in groups) for k in range(count)]
    parts: list[Counter[int]] = [Counter() for _ in range(count)]
    every = [t for t, n in groups for _ in range(n)]
    for place, terrain in enumerate(every):
        parts[place * count // total][terrain] += 1
    return [tuple(part.items()) for part in parts]


class Trial(NamedTuple):
    """A program on a terrain that it was not written for.

    Attributes:
        row: which program of the answer.
        terrain: index of the terrain it was tried on.
        fitness: the world's measure there; None for a failure.
    """

    row: int
    terrain: int
    fitness: float | None


@dataclass(frozen=True)
class Rollouts:
    """The answer to one request: b programs of at most l sampled tokens, scored on s terrains (1, or all).

    Scored on all, rewards and fitness are NaN on terrains whose instructions are others than the program's.

    Attributes:
        request_id: the request answered.
        version: version of the prompt state that acted.
        ids: sampled token ids, the instruction left out, right-padded, shape (b, l), int64.
        mask: which of them were sampled, shape (b, l), bool.
        logprobs: natural log-probabilities under the policy that acted, whatever temperature or cut they were drawn
            with, 0 where masked, shape (b, l), float32.
        terrain: index of the terrain each program was written for, shape (b,), int64.
        programs: the b whole texts, instruction included.
        rewards: what the learner maximises, shape (b, s), float64.
        fitness: the world's measure, 0 for a failure, shape (b, s), float64.
        failures: failure kinds, None for a valid program, and for one that was not scored there, b lists of s.
        trials: fitness of those programs that were tried on other terrains too.
        instruction: which of its terrain's ``all_instructions`` each program was written behind, shape (b,), int64;
            left out, the first.
        token_rewards: reward of each token, shape (b, l), float64, their sums being ``rewards``; of a program with one
            reward all of it is on its last token. None where the world gave no program more than one reward.
        metrics: what the world measured, by name, shape (b, 1) on the program's own terrain or (b, n_terrains) on all,
            float64; NaN where there is no number.
        descriptors: numbers that tell kinds of programs apart, as the world's ``niches`` name them, shape
            (b, n_descriptors), float64; NaN for a program without. A world that has none: shape (b, 0).
        prompt: index of the prompt each program was written behind, among those of all terrains, shape (b,), int64; -1
            for the bare language model. Left out, that of its terrain where each has one.
        identity: a number that programs with the same outcome share, shape (b,), int64; left out, of the same text.
        seconds: wall-clock time by part, ``generate`` and ``score``.
        counts: the world's counters for this request, where it has any. Only these, the seconds and what follows differ
            between two runs, as they depend on the scores that this worker's world had cached before.
        memory: what the worker's process held behind it; None where nobody measured it.
        warnings: what was logged in the worker's process, and the user should see.
    """

    request_id: int
    version: int
    ids: np.ndarray
    mask: np.ndarray
    logprobs: np.ndarray
    terrain: np.ndarray
    programs: list[str]
    rewards: np.ndarray
    fitness: np.ndarray
    failures: list[list[str | None]]
    trials: tuple[Trial, ...] = ()
    instruction: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    token_rewards: np.ndarray | None = None
    metrics: Mapping[str, np.ndarray] = field(default_factory=dict)
    descriptors: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    identity: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    prompt: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    seconds: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    memory: Memory | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        b = len(self.programs)
        if not len(self.instruction):
            object.__setattr__(self, "instruction", np.zeros(b, dtype=np.int64))
        if not len(self.prompt):
            object.__setattr__(self, "prompt", self.terrain)
        if not len(self.descriptors):
            object.__setattr__(self, "descriptors", np.empty((b, 0)))
        if not len(self.identity):
            object.__setattr__(self, "identity", identities(self.programs))
        token_shapes = {self.ids.shape, self.mask.shape, self.logprobs.shape}
        if len(token_shapes) != 1 or self.ids.ndim != 2 or len(self.ids) != b or self.terrain.shape != (b,):
            raise ValueError(f"rollouts of request {self.request_id}: token arrays {token_shapes} for {b} programs")
        if self.rewards.shape != self.fitness.shape or self.rewards.ndim != 2 or len(self.rewards) != b:
            raise ValueError(f"rollouts of request {self.request_id}: rewards {self.rewards.shape} for {b} programs")
        if len(self.failures) != b or any(len(row) != self.rewards.shape[1] for row in self.failures):
            raise ValueError(f"rollouts of request {self.request_id}: failures do not match rewards")
        if self.instruction.shape != (b,) or any(len(each) != b for each in self.metrics.values()):
            raise ValueError(
                f"rollouts of request {self.request_id}: instructions or metrics do not match {b} programs"
            )
        if (
            self.prompt.shape != (b,)
            or self.identity.shape != (b,)
            or self.descriptors.ndim != 2
            or len(self.descriptors) != b
        ):
            raise ValueError(f"rollouts of request {self.request_id}: outcomes do not match {b} programs")
        if self.token_rewards is not None and self.token_rewards.shape != self.ids.shape:
            raise ValueError(f"rollouts of request {self.request_id}: token rewards do not match the tokens")

    @property
    def size(self) -> int:
        """Number of programs."""
        return len(self.programs)
