"""Prefixes made of a hint's tokens: a hint is a text that has something to do with the program behind it.

Behind prefixes unrelated to the program a model learns only to write valid programs in spite of them; a hint's rows
carry information on the program, though not all of it. A hint is any text, such as that of a similar program.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

Hints = Mapping[tuple[int, ...], Sequence[int]]
"""By a program's token ids, those of its hint. A program that is not in it has none."""

SHUFFLED = NOISY = SCALED = 0.2
"""Share of the hinted batches that are changed so, each by itself: tuned prompts are neither in order nor tokens."""


def encode_hints(
    tokenizer: PreTrainedTokenizerFast,
    programs: Sequence[Sequence[int]],
    texts: Sequence[str | None],
    instruction: str,
    unseen: Collection[str],
) -> Hints:
    """Returns the hints of programs in tokens, without the instruction and without tokens that have no text.

    Args:
        tokenizer: that of the model.
        programs: token ids of each; of two that are equal, the first one's hint counts.
        texts: the hint of each, or None.
        instruction: what every program begins with: a hint that is a program does not say it again.
        unseen: texts that are no hints, such as programs that nothing is to be learnt of.
    """
    given = [(tuple(p), text) for p, text in zip(programs, texts, strict=True) if text and text not in unseen]
    bare = [text.removeprefix(instruction) for _, text in given]
    encoded = tokenizer(bare, add_special_tokens=False)["input_ids"] if bare else []
    return {program: ids for (program, _), ids in reversed(list(zip(given, encoded, strict=True))) if ids}


def copied(tokens: Sequence[int], rows: int, rng: random.Random) -> list[int]:
    """Fits a hint into a number of rows: a part of it, or all of it with tokens left out or repeated evenly."""
    spare = len(tokens) - rows
    if spare > 0 and rng.random() < 0.5:
        first = rng.randint(0, spare)
        return list(tokens[first : first + rows])
    return [tokens[k * len(tokens) // rows] for k in range(rows)]


def disturbed(rows: Tensor, rng: random.Random, generator: torch.Generator) -> Tensor:
    """Shuffles, blurs or scales some of the prefixes that are copies of tokens, all of a batch alike.

    Args:
        rows: shape (b, n, d).
        rng: decides what is done.
        generator: the noise, and the orders.
    """
    if rng.random() < SHUFFLED:
        order = torch.rand(rows.shape[:2], generator=generator).argsort(dim=1).to(rows.device)
        rows = rows.take_along_dim(order[:, :, None], dim=1)
    if rng.random() < NOISY:
        noise = torch.randn(rows.shape, generator=generator).to(rows.device)
        rows = rows + rng.uniform(0.1, 1.0) * rows.square().mean().sqrt() * noise
    if rng.random() < SCALED:
        rows = rows * rng.uniform(0.5, 2.0)
    return rows
