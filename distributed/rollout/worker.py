"""The rollout worker: writes programs with the frozen language model and lets the world score them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from distributed.rollout.instructions import instruction_ids
from distributed.rollout.outcomes import descriptors_of, identities
from distributed.rollout.scoring import Scorer, Written, token_rewards
from distributed.rollout.types import LayerWeights, PromptState, RolloutRequest, Rollouts
from softprompt.finite import NotFiniteError
from softprompt.models import prompt_text
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import UnfrozenLM
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.base import Instruction, Score, World
from terrains.optional import Counting, Tokenizing, niches_of


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
        self.lm = FrozenLM.rebuild(model, device)
        self.world = make_world()
        if isinstance(self.world, Tokenizing):
            self.world.use_tokenizer(self.lm.tokenizer)
        self._niches = niches_of(self.world)
        self._scorer, self._n_terrains = Scorer(self.world, terrains), len(terrains)
        self._drawing = generation, experience or generation
        self._frozen = self._samplers(self.lm)
        self._unfrozen: tuple[UnfrozenLM, str, tuple[Sampler, Sampler]] | None = None
        self._threads = threads
        self._known: dict[str, tuple[int, ...]] = {}

    def generate(self, request: RolloutRequest, state: PromptState) -> Rollouts:
        """Writes the programs of a request and scores them.

        Args:
            request: what is asked.
            state: the soft prompts to act with.

        Raises:
            NotFiniteError: the language model's logits are not finite behind some of the prompts.
            WorldError: the world cannot go on, or does not answer as worlds do.
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
        written = self._written(request, ids, mask)
        generated = time.perf_counter()
        before = self._counts()
        table = self._scorer.score(written, request.score_on)
        return Rollouts(
            request_id=request.id,
            version=state.version,
            ids=ids,
            mask=mask,
            logprobs=samples.own_logprobs.cpu().numpy(),
            terrain=written.terrain,
            programs=list(written.programs),
            rewards=_numbers(table, "reward"),
            fitness=_numbers(table, "fitness"),
            failures=[[score.failure if score else None for score in row] for row in table],
            trials=self._scorer.try_elsewhere(written, table, request.try_on, request.seed),
            instruction=written.instruction,
            token_rewards=token_rewards([row[0] for row in table], mask) if request.score_on == "own" else None,
            descriptors=descriptors_of(table, self._niches, f"the world {getattr(self.world, 'name', '')}"),
            identity=identities(written.programs, table),
            prompt=np.repeat(self._prompt_indices(request, state), [count for _, count in request.groups]),
            metrics={} if request.measure_on == "none" else self._scorer.measure(written, request.measure_on),
            seconds={"generate": generated - began, "score": time.perf_counter() - generated},
            counts={name: count - before.get(name, 0.0) for name, count in self._counts().items()},
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

    def _instruction(self, terrain: int, index: int) -> tuple[Instruction, tuple[int, ...]]:
        """One of a terrain's instructions and its tokens, looked up once."""
        said = self._scorer.terrain(terrain).all_instructions[index]
        if said.text not in self._known:
            self._known[said.text] = instruction_ids(self.lm, said.text)
        return said, self._known[said.text]

    def _prompts(self, request: RolloutRequest, state: PromptState) -> torch.Tensor | None:
        """The prompt of each group, shape (n_groups, n_soft_tokens, d); a copy, since a message is read-only."""
        if state.prompts is None or not request.use_prompt:
            return None
        rows = state.prompts[self._prompt_indices(request, state)]
        return torch.from_numpy(rows).to(self.lm.device)

    def _prompt_indices(self, request: RolloutRequest, state: PromptState) -> list[int]:
        """Of each group, the index of its prompt among those of all terrains; -1 without one."""
        if state.prompts is None or not request.use_prompt:
            return [-1] * len(request.groups)
        per_terrain = len(state.prompts) // self._n_terrains
        return [t * per_terrain + slot for (t, _), slot in zip(request.groups, request.prompted, strict=True)]

    def _sample_requests(self, request: RolloutRequest) -> list[SampleRequest]:
        """One for each group. The n-th group of a terrain has the same seed whatever other terrains are asked for."""
        seen: Counter[int] = Counter()
        asked = []
        for position, ((terrain, count), which) in enumerate(zip(request.groups, request.behind, strict=True)):
            seed = np.random.SeedSequence((request.seed, terrain, seen[terrain])).generate_state(1)[0]
            seen[terrain] += 1
            asked.append(SampleRequest(position, self._instruction(terrain, which)[1], count, int(seed)))
        return asked

    def _written(self, request: RolloutRequest, ids: np.ndarray, mask: np.ndarray) -> Written:
        """The whole programs, with what they were written for and behind."""
        terrains, counts = np.array(request.groups, dtype=np.int64).T
        terrain = np.repeat(terrains, counts)
        instruction = np.repeat(np.array(request.behind, dtype=np.int64), counts)
        known = [self._instruction(k, which) for k, which in zip(terrain.tolist(), instruction.tolist(), strict=True)]
        rows = [tuple(row[kept].tolist()) for row, kept in zip(ids, mask, strict=True)]
        starts, tokens = [said.text for said, _ in known], [tokens for _, tokens in known]
        return Written(prompt_text.program_texts(self.lm.tokenizer, starts, tokens, rows), terrain, instruction, rows)


def _numbers(table: Sequence[Sequence[Score | None]], name: str) -> np.ndarray:
    """One of the numbers of all scores, shape (b, s), float64; NaN where there is no score."""
    return np.array([[getattr(score, name) if score else np.nan for score in row] for row in table], dtype=np.float64)


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Lets torch use n threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
