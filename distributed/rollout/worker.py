"""The rollout worker: writes programs with the frozen language model and lets the world score them."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from distributed.errors import UserError
from distributed.rollout.types import LayerWeights, PromptState, RolloutRequest, Rollouts, Trial
from softprompt.finite import NotFiniteError
from softprompt.models import prompt_text
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import UnfrozenLM
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.base import Attempt, Score, Terrain, World
from terrains.optional import Counting

NOT_FINITE = "not_finite"
"""Failure kind of a program whose reward or fitness, as the world returned it, is NaN or infinite."""

TRIALS = 12
"""A constant in the seeds that draw on which other terrains programs are tried."""


class RolloutWorker:
    """Answers rollout requests, in this process or in a Ray actor.

    An answer depends on the request and the prompt state alone: every group has a seed of its own, and the numerical
    threads are fixed while it works, because their number changes the order of floating-point sums.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        make_world: Callable[[], World],
        terrains: Sequence[str],
        generation: GenerationConfig,
        experience: GenerationConfig | None = None,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        """Builds the language model around its shared weights, and the world.

        Args:
            model: what ``FrozenLM.export`` returned; its arrays are not copied and never written to.
            make_world: builds the world; it has to be picklable, such as a ``functools.partial`` of its class.
            terrains: names of the terrains, in the order of the prompts.
            generation: how tokens are drawn.
            experience: how they are drawn for requests that explore; None for the same way.
            device: torch device of the language model.
            threads: torch threads while it works.
        """
        self.lm = FrozenLM.from_weights(**model)
        self.lm.model.to(device)
        self.world = make_world()
        self._names = list(terrains)
        self._drawing = generation, experience or generation
        self._frozen = self._samplers(self.lm)
        self._unfrozen: tuple[UnfrozenLM, str, tuple[Sampler, Sampler]] | None = None
        self._threads = threads
        self._known: dict[int, tuple[Terrain, tuple[int, ...]]] = {}

    def generate(self, request: RolloutRequest, state: PromptState) -> Rollouts:
        """Writes the programs of a request and scores them.

        Args:
            request: what is asked.
            state: the soft prompts to act with.

        Raises:
            NotFiniteError: the language model's logits are not finite behind some of the prompts.
        """
        began = time.perf_counter()
        with torch_threads(self._threads):
            samplers = self._tuned(state.layers) if state.layers and request.use_prompt else self._frozen
            sampler = samplers[request.explore]
            try:
                samples = sampler.sample(self._prompts(request, state), self._sample_requests(request))
            except NotFiniteError as error:
                raise NotFiniteError(error.what, sorted({request.groups[i][0] for i in error.terrains})) from None
        ids, mask = samples.ids.cpu().numpy(), samples.mask.cpu().numpy()
        terrain = np.repeat(*np.array(request.groups, dtype=np.int64).T)
        programs = self._texts(terrain, ids, mask)
        generated = time.perf_counter()
        before = self._counts()
        scores = self._score(programs, terrain, request.score_on == "all")
        return Rollouts(
            request_id=request.id,
            version=state.version,
            ids=ids,
            mask=mask,
            logprobs=samples.own_logprobs.cpu().numpy(),
            terrain=terrain,
            programs=programs,
            rewards=np.array([[score.reward for score in row] for row in scores]),
            fitness=np.array([[score.fitness for score in row] for row in scores]),
            failures=[[score.failure for score in row] for row in scores],
            trials=self._trials(request, programs, terrain, scores),
            seconds={"generate": generated - began, "score": time.perf_counter() - generated},
            counts={name: count - before[name] for name, count in self._counts().items()},
        )

    def close(self) -> None:
        """Ends the world's subprocesses."""
        self.world.close()

    def _counts(self) -> dict[str, float]:
        """The world's counters so far; empty for a world without any."""
        return dict(self.world.counters()) if isinstance(self.world, Counting) else {}

    def _samplers(self, lm: FrozenLM) -> tuple[Sampler, Sampler]:
        """The evaluation sampler and the rollout sampler of a language model."""
        evaluation, rollout = self._drawing
        sampler = Sampler(lm, evaluation)
        return sampler, sampler if rollout is evaluation else Sampler(lm, rollout)

    def _tuned(self, layers: LayerWeights) -> tuple[Sampler, Sampler]:
        """Samplers of the language model with these layers; decoders copy weights, so new layers need new samplers."""
        if self._unfrozen is None or self._unfrozen[1] != layers.digest:
            lm = self._unfrozen[0] if self._unfrozen else UnfrozenLM(self.lm, layers.arrays.keys())
            lm.load_weights(layers.arrays)
            self._unfrozen = lm, layers.digest, self._samplers(lm)
        return self._unfrozen[2]

    def _terrain(self, index: int) -> tuple[Terrain, tuple[int, ...]]:
        """A terrain and the tokens of its instruction, looked up once."""
        if index not in self._known:
            terrain = self.world.terrain(self._names[index])
            self._known[index] = terrain, instruction_ids(self.lm, terrain.instruction)
        return self._known[index]

    def _prompts(self, request: RolloutRequest, state: PromptState) -> torch.Tensor | None:
        """The prompt of each group, shape (n_groups, n_soft_tokens, d); a copy, since a message is read-only."""
        if state.prompts is None or not request.use_prompt:
            return None
        rows = state.prompts[[terrain for terrain, _ in request.groups]]
        return torch.from_numpy(rows).to(self.lm.device)

    def _sample_requests(self, request: RolloutRequest) -> list[SampleRequest]:
        """One for each group. The n-th group of a terrain has the same seed whatever other terrains are asked for."""
        seen: Counter[int] = Counter()
        asked = []
        for position, (terrain, count) in enumerate(request.groups):
            seed = np.random.SeedSequence((request.seed, terrain, seen[terrain])).generate_state(1)[0]
            seen[terrain] += 1
            asked.append(SampleRequest(position, self._terrain(terrain)[1], count, int(seed)))
        return asked

    def _texts(self, terrain: np.ndarray, ids: np.ndarray, mask: np.ndarray) -> list[str]:
        """The whole programs."""
        known = [self._terrain(index) for index in terrain.tolist()]
        rows = [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)]
        instructions = [ground.instruction for ground, _ in known]
        return prompt_text.program_texts(self.lm.tokenizer, instructions, [tokens for _, tokens in known], rows)

    def _score(self, programs: Sequence[str], terrain: np.ndarray, everywhere: bool) -> list[list[Score]]:
        """Scores of each program, on its own terrain or on all, all in one call, so that the world can share work."""
        rows = [self._names if everywhere else [self._names[index]] for index in terrain]
        attempts = [Attempt(name, program) for names, program in zip(rows, programs, strict=True) for name in names]
        scores = map(finite, self.world.score(attempts))
        return [[next(scores) for _ in names] for names in rows]

    def _trials(
        self, request: RolloutRequest, programs: Sequence[str], terrain: np.ndarray, scores: Sequence[Sequence[Score]]
    ) -> tuple[Trial, ...]:
        """Tries each terrain's best valid program on other terrains that have the same instruction."""
        chance = np.random.default_rng(np.random.SeedSequence((request.seed, TRIALS)))
        chosen: list[tuple[int, int]] = []
        for home in dict.fromkeys(terrain.tolist()) if request.try_on else ():
            valid = [i for i in np.flatnonzero(terrain == home).tolist() if scores[i][0].failure is None]
            words = self._terrain(home)[0].instruction
            others = [k for k in range(len(self._names)) if k != home and self._terrain(k)[0].instruction == words]
            if valid and others:
                row = max(valid, key=lambda i: scores[i][0].fitness)
                drawn = chance.choice(others, min(request.try_on, len(others)), replace=False)
                chosen += [(row, int(k)) for k in drawn]
        attempts = [Attempt(self._names[k], programs[row]) for row, k in chosen]
        found = map(finite, self.world.score(attempts)) if attempts else ()
        return tuple(
            Trial(row, k, None if score.failure else score.fitness)
            for (row, k), score in zip(chosen, found, strict=True)
        )


def finite(score: Score) -> Score:
    """A world's score; a failure where its reward or fitness is not finite, as nothing can be learnt from that."""
    if math.isfinite(score.reward) and math.isfinite(score.fitness):
        return score
    return Score(0.0, 0.0, NOT_FINITE, f"reward {score.reward}, fitness {score.fitness}")


def instruction_ids(lm: FrozenLM, instruction: str) -> tuple[int, ...]:
    """Token ids of a hard prompt; see :func:`softprompt.models.prompt_text.instruction_ids`.

    Raises:
        UserError: the language model has no row for a token of it.
    """
    try:
        return prompt_text.instruction_ids(lm, instruction)
    except ValueError as error:
        raise UserError(f"model.model_path: {error}") from None


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Lets torch use n threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
