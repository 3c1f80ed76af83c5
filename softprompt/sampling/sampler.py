"""Sampling programs: many terrains in one batch, each request with its own chance, log-probabilities on the side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softprompt.finite import check_rows
from softprompt.models.frozen import FrozenLM
from softprompt.sampling.decoders import make_decoder
from softprompt.sampling.draw import GenerationConfig, draw
from softprompt.sampling.stop_strings import StopWatch, TokenTexts


@dataclass(frozen=True)
class SampleRequest:
    """Asks for programs for one terrain.

    Attributes:
        terrain: row of the prompts to use.
        instruction: token ids of the hard prompt.
        count: how many programs.
        seed: decides, with the prompt and nothing else, what is drawn.
    """

    terrain: int
    instruction: tuple[int, ...]
    count: int
    seed: int


@dataclass(frozen=True)
class Samples:
    """What was drawn, one row per program: the first request's rows first.

    Attributes:
        ids: new tokens only, the end token included, right-padded, shape (b, l) int64.
        mask: which cells are real, shape (b, l) bool.
        logprobs: log-probability of each token under the distribution it was drawn from, min_new_tokens, temperature,
            top_k and top_p included, zero where the mask is False, shape (b, l) float32.
        own_logprobs: the same under the model's own distribution, whatever it was drawn from, shape (b, l) float32.
        terrain: shape (b,) int64.
        instructions: token ids of each row's instruction.
    """

    ids: Tensor
    mask: Tensor
    logprobs: Tensor
    own_logprobs: Tensor
    terrain: Tensor
    instructions: list[tuple[int, ...]]


class _Drawn:
    """What has been drawn so far, step by step; which rows are still there differs from step to step."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._columns: list[Tensor] = []
        self._ids: list[Tensor] = []
        self._logprobs: list[Tensor] = []
        self._own: list[Tensor] = []

    def add(self, step: int, rows: Tensor, ids: Tensor, logprobs: Tensor, own: Tensor) -> None:
        """Notes one token of each of these rows."""
        self._rows.append(rows)
        self._columns.append(torch.full_like(rows, step))
        self._ids.append(ids)
        self._logprobs.append(logprobs)
        self._own.append(own)

    def tables(self, n_rows: int, pad_id: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns ids, mask and both log-probabilities, each (n_rows, l) with l the length of the longest program."""
        cells = torch.cat(self._rows), torch.cat(self._columns)
        shape, device = (n_rows, int(cells[1].max()) + 1), cells[0].device
        ids, mask = torch.full(shape, pad_id, device=device), torch.zeros(shape, dtype=torch.bool, device=device)
        logprobs, own = torch.zeros(2, *shape, device=device)
        mask[cells] = True
        for table, values in ((ids, self._ids), (logprobs, self._logprobs), (own, self._own)):
            table[cells] = torch.cat(values)
        return ids, mask, logprobs, own


class Sampler:
    """Draws programs from a frozen language model behind soft prompts."""

    def __init__(self, lm: FrozenLM, config: GenerationConfig | None = None, fast: bool = True) -> None:
        """Prepares a decoder, which then lives as long as the sampler.

        Args:
            lm: the language model.
            config: how tokens are drawn, the defaults if None.
            fast: False decodes with transformers' own forward even where there is a faster one.
        """
        self.lm = lm
        self.config = config or GenerationConfig()
        with torch.inference_mode():
            self._decoder = make_decoder(lm.model, fast)
        self._ends = torch.zeros(lm.vocab_size, dtype=torch.bool, device=lm.device)
        self._ends[list(lm.eos_ids if self.config.end_tokens is None else self.config.end_tokens)] = True
        self._texts = TokenTexts(lm.tokenizer) if self.config.stop_strings else None

    def sample(self, prompts: Tensor | None, requests: Sequence[SampleRequest]) -> Samples:
        """Draws all programs of all requests in one batch.

        Args:
            prompts: shape (n_terrains, n_soft_tokens, d_model), or None for the bare language model.
            requests: at least one. What a request draws does not depend on the others.

        Raises:
            ValueError: nothing to draw, nothing to begin with, or more positions needed than the model has.
            NotFiniteError: the model's logits are not finite behind some of the prompts.
        """
        self._check(prompts, requests)
        instructions = [request.instruction for request in requests for _ in range(request.count)]
        watch = StopWatch(self._texts, self.config.stop_strings, instructions) if self._texts else None
        with torch.inference_mode():
            drawn = self._decode(prompts, requests, watch)
        # Made outside inference mode, they may take part in a loss.
        tables = drawn.tables(len(instructions), self.lm.pad_id)
        terrain = [request.terrain for request in requests for _ in range(request.count)]
        samples = Samples(*tables, torch.tensor(terrain, device=self.lm.device), instructions)
        check_rows("a token's log-probability", samples.logprobs + samples.own_logprobs, samples.terrain)
        return samples

    def _decode(self, prompts: Tensor | None, requests: Sequence[SampleRequest], watch: StopWatch | None) -> _Drawn:
        """Reads all prompts, then draws the programs behind them, as many side by side as the decoder likes."""
        config, device = self.config, self.lm.device
        embedded, padding = self._embed(prompts, requests)
        counts = torch.tensor([request.count for request in requests], device=device)
        prompt_of = torch.arange(len(requests), device=device).repeat_interleave(counts)
        uniforms = torch.cat([_uniforms(request, config.max_new_tokens) for request in requests]).to(device)
        drawn = _Drawn()
        logits = self._decoder.prefill(embedded, padding, config.max_new_tokens)
        n = len(uniforms)
        for rows in torch.arange(n, device=device).chunk(-(-n // (self._decoder.rows_at_once or n))):
            self._decoder.begin(prompt_of[rows])
            self._decode_rows(rows, logits[prompt_of[rows]], uniforms[rows], drawn, watch)
        return drawn

    def _decode_rows(
        self, rows: Tensor, logits: Tensor, uniforms: Tensor, drawn: _Drawn, watch: StopWatch | None
    ) -> None:
        """Draws the programs of some rows to their ends, from the logits of their first tokens and all their chance."""
        for step in range(self.config.max_new_tokens):
            allowed = logits
            if step < self.config.min_new_tokens:
                allowed = logits.masked_fill(self._ends, -torch.inf)
            chosen, logprobs = draw(allowed, uniforms[:, step], self.config)
            own = logprobs
            if allowed is not logits or self.config.shapes_logits:
                own = logits.log_softmax(dim=-1).gather(1, chosen[:, None])[:, 0]
            drawn.add(step, rows, chosen, logprobs, own)
            ended = self._ends[chosen]
            if watch:
                ended |= torch.tensor(watch.has_stopped(rows.tolist(), chosen.tolist()), device=ended.device)
            if bool(ended.any()):
                kept = _close_ranks(~ended)
                self._decoder.keep(kept)
                rows, uniforms, chosen = rows[kept], uniforms[kept], chosen[kept]
            if len(rows) == 0 or step == self.config.max_new_tokens - 1:
                break
            logits = self._decoder.step(chosen)

    def _embed(self, prompts: Tensor | None, requests: Sequence[SampleRequest]) -> tuple[Tensor, Tensor]:
        """Returns each request's ``[soft prompt; instruction]``, left-padded (r, s, d_model), and its padding (r,)."""
        embedding, device = self.lm.embed, self.lm.device
        sequences = []
        for request in requests:
            instruction = embedding(torch.tensor(request.instruction, dtype=torch.int64, device=device))
            prompt = [] if prompts is None else [prompts[request.terrain].detach().to(instruction)]
            sequences.append(torch.cat([*prompt, instruction]))
        lengths = torch.tensor([len(sequence) for sequence in sequences], device=device)
        return torch.nn.utils.rnn.pad_sequence(sequences, True, padding_side="left"), lengths.max() - lengths

    def _check(self, prompts: Tensor | None, requests: Sequence[SampleRequest]) -> None:
        if not requests or any(request.count < 1 for request in requests):
            raise ValueError("a batch needs at least one request, and a request at least one program")
        n_soft_tokens = 0 if prompts is None else prompts.shape[1]
        lengths = [n_soft_tokens + len(request.instruction) for request in requests]
        if min(lengths) == 0:
            raise ValueError("nothing to begin with: give the request an instruction or the terrain a soft prompt")
        needed, available = max(lengths) + self.config.max_new_tokens, self.lm.max_length
        if available is not None and needed > available:
            raise ValueError(
                f"{n_soft_tokens} soft tokens, an instruction of {max(lengths) - n_soft_tokens} and "
                f"{self.config.max_new_tokens} new tokens need {needed} positions; the language model has {available}"
            )


def _uniforms(request: SampleRequest, length: int) -> Tensor:
    """All chance of a request, (count, length), drawn up front: neither neighbours nor finished rows can shift it."""
    return torch.rand(request.count, length, generator=torch.Generator().manual_seed(request.seed))


def _close_ranks(alive: Tensor) -> Tensor:
    """Returns the indices of the living rows, the last ones moved into the gaps, so that few rows change place."""
    survivors = alive.nonzero()[:, 0]
    n = len(survivors)
    order = torch.arange(n, device=alive.device)
    gaps = ~alive[:n]
    order[gaps] = survivors[survivors >= n]
    return order
