"""Prefixes for Stage 2: what makes a language model ready for soft prompts.

A model that never saw rows before its text breaks behind them: no valid program, no signal, nothing to learn. So
during pretraining a prefix stands before most programs. Some say nothing (rows of the vocabulary, noise, zeros): the
model learns that they are harmless. Some say something about the program that follows, and it learns to listen: tokens
of a copy in which numbers were changed, or a summary that an encoder, trained along and then thrown away, makes of it.
The summary is what a tuned prompt will be: dense rows off the vocabulary that mean a program.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

Drawn = tuple[list[int], float, float]
"""Token ids of a prefix, the scale of their rows, and the noise added, in mean row norms."""


class PrefixConfig(BaseModel):
    """How prefixes are drawn during pretraining."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    none: float = Field(0.25, ge=0, le=1)
    """Share of batches without any prefix."""
    related: float = Field(0.6, ge=0, le=1)
    """Share of prefixes that tell something about their program, among batches that have prefixes."""
    encoded: float = Field(0.6, ge=0, le=1)
    """Share of the telling prefixes that the encoder makes; the others are tokens of a changed copy."""
    max_rows: int = Field(50, ge=1)
    """Longest prefix; half of the prefixes have at most 20 rows."""
    changed_numbers: float = Field(0.5, ge=0, le=1)
    """Up to this share of a related copy's digits is replaced."""


class ProgramEncoder(nn.Module):
    """Summarises a program in a few rows of the embedding's size: two layers of self-attention over queries and tokens.

    Args:
        d: width of the rows.
        max_rows: most rows of a summary.
        max_tokens: longest program.
        heads: attention heads.
    """

    def __init__(self, d: int, max_rows: int, max_tokens: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(max_rows, d))
        self.positions = nn.Parameter(torch.randn(max_tokens, d))
        layer = nn.TransformerEncoderLayer(d, heads, 2 * d, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(d, d)

    def forward(self, embeds: Tensor, padding: Tensor, rows: int) -> Tensor:
        """Returns rows of unit norm, shape (b, rows, d).

        Args:
            embeds: of the programs' tokens, shape (b, l, d).
            padding: cells that are not real, shape (b, l) bool.
            rows: rows of the summary.
        """
        b, width = padding.shape
        x = torch.cat([self.queries[:rows].expand(b, -1, -1), embeds + self.positions[:width]], dim=1)
        mask = torch.cat([padding.new_zeros(b, rows), padding], dim=1)
        return nn.functional.normalize(self.out(self.blocks(x, src_key_padding_mask=mask)[:, :rows]), dim=-1)


class PrefixMaker:
    """Draws one prefix per program of a batch.

    Args:
        embedding: token embedding of the model in training, shape (vocab, d); gradients flow through it.
        encoder: makes summaries; gradients flow through it.
        token_counts: how often each token stands in the corpus, shape (vocab,).
        digit_ids: token ids of the ten digits.
        config: shares and lengths.
        seed: where every choice comes from.
    """

    def __init__(
        self,
        embedding: Tensor,
        encoder: ProgramEncoder,
        token_counts: Tensor,
        digit_ids: Sequence[int],
        config: PrefixConfig,
        seed: int,
    ) -> None:
        self.embedding, self.encoder = embedding, encoder
        self.config = config
        self._rng = random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._used = token_counts.nonzero().flatten().tolist()
        self._weights = token_counts[self._used].double().sqrt().tolist()
        self._digits = list(digit_ids)
        self._is_digit = set(digit_ids)

    def rows(self) -> int:
        """Draws the number of prefix rows of the next batch, 0 for none."""
        if self._rng.random() < self.config.none:
            return 0
        return self._rng.randint(1, 20) if self._rng.random() < 0.5 else self._rng.randint(1, self.config.max_rows)

    def prefix(self, programs: Sequence[Sequence[int]], rows: int) -> Tensor:
        """Returns a prefix for each program, shape (len(programs), rows, d)."""
        telling = [self._rng.random() < self.config.related for _ in programs]
        encoded = [k for k, tells in enumerate(telling) if tells and self._rng.random() < self.config.encoded]
        drawn = [self._related(p, rows) if t else self._silent(rows) for p, t in zip(programs, telling, strict=True)]
        for k in encoded:
            drawn[k] = drawn[k][0], *self._perturbation()
        tokens = torch.tensor([d[0] for d in drawn])
        scale, blur = (torch.tensor([d[k] for d in drawn]).view(-1, 1, 1) for k in (1, 2))
        d = self.embedding.shape[1]
        norm = self.embedding.detach().norm(dim=1).mean()
        prefix = nn.functional.embedding(tokens, self.embedding)
        if encoded:
            index = torch.tensor(encoded)
            prefix = prefix.index_copy(0, index, norm * self._summaries([programs[k] for k in encoded], rows))
        noise = torch.randn(*tokens.shape, d, generator=self._generator) * (norm / d**0.5)
        return prefix * scale + noise * blur

    def _summaries(self, programs: Sequence[Sequence[int]], rows: int) -> Tensor:
        ids = nn.utils.rnn.pad_sequence([torch.tensor(p) for p in programs], batch_first=True, padding_value=-1)
        return self.encoder(nn.functional.embedding(ids.clamp(min=0), self.embedding), ids < 0, rows)

    def _related(self, program: Sequence[int], rows: int) -> Drawn:
        """Tokens of a copy of the program in which some digits were changed."""
        share = self._rng.random() * self.config.changed_numbers
        digits = self._digits
        copy = [self._rng.choice(digits) if t in self._is_digit and self._rng.random() < share else t for t in program]
        chosen = self._choose(copy, rows)
        chosen = (chosen + self._frequent(rows - len(chosen)))[:rows]
        if self._rng.random() < 0.1:
            self._rng.shuffle(chosen)
        return chosen, *self._perturbation()

    def _choose(self, copy: list[int], rows: int) -> list[int]:
        """Which tokens of the copy to take: its beginning, a window, its numbers alone, or a thinned copy."""
        form = self._rng.random()
        if form < 0.25:
            return copy[1 : rows + 1]
        if form < 0.4:
            start = self._rng.randrange(max(1, len(copy) - rows))
            return copy[start : start + rows]
        pool = [t for t in copy if t in self._is_digit] if form < 0.7 else copy[1:]
        if len(pool) <= rows:
            return pool
        return [pool[i] for i in sorted(self._rng.sample(range(len(pool)), rows))]

    def _silent(self, rows: int) -> Drawn:
        """Rows that say nothing: frequent tokens, any tokens, one token repeated, zeros, noise."""
        form = self._rng.random()
        if form < 0.35:
            return self._frequent(rows), *self._perturbation()
        if form < 0.55:
            return self._rng.choices(self._used, k=rows), *self._perturbation()
        if form < 0.65:
            return [self._rng.choice(self._used)] * rows, 1.0, 0.0
        return [0] * rows, 0.0, self._rng.choice([0.0, 0.3, 1.0, 1.0, 2.0])

    def _frequent(self, rows: int) -> list[int]:
        return self._rng.choices(self._used, weights=self._weights, k=max(0, rows))

    def _perturbation(self) -> tuple[float, float]:
        """Scale and blur: half of the prefixes are moved, as a prompt is once an optimizer has moved it."""
        if self._rng.random() < 0.5:
            return 1.0, 0.0
        return self._rng.uniform(0.6, 1.8), self._rng.choice([0.2, 0.5, 1.0])
