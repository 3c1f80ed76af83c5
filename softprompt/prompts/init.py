"""Initial values of soft prompts: rows of frequent tokens, of a text, or random ones as long as the vocabulary's."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Generator, Tensor, nn

from softprompt.prompts.table import check_size

FREQUENT_MASS = 0.95
"""Prompts start from the fewest tokens that make up this share of the corpus."""


def initial_prompts(
    embedding: Tensor,
    n_terrains: int,
    n_soft_tokens: int,
    generator: Generator,
    initialize_from_vocab: bool = True,
    token_counts: np.ndarray | None = None,
    special_ids: Collection[int] = (),
) -> Tensor:
    """Returns the value prompts start from, shape (n_terrains, n_soft_tokens, d_model), float32.

    Args:
        embedding: the model's rows, shape (vocab_size, d_model).
        n_terrains: number of prompts; each draws rows of its own.
        n_soft_tokens: rows per prompt.
        generator: the only source of chance.
        initialize_from_vocab: rows of frequent tokens, else random rows.
        token_counts: see :func:`vocabulary_rows`.
        special_ids: see :func:`vocabulary_rows`.

    Raises:
        ValueError: n_soft_tokens is less than 1.
    """
    check_size(n_soft_tokens)
    if initialize_from_vocab:
        blocks = [
            vocabulary_rows(embedding, token_counts, n_soft_tokens, generator, special_ids) for _ in range(n_terrains)
        ]
    else:
        blocks = [random_rows(embedding, n_soft_tokens, generator) for _ in range(n_terrains)]
    return torch.stack(blocks)


def vocabulary_rows(
    embedding: Tensor, token_counts: np.ndarray | None, n: int, generator: Generator, special_ids: Collection[int] = ()
) -> Tensor:
    """Copies rows of the vocabulary, each token at most once while there are enough (Lester et al. 2021, section 3.2).

    Lester et al. draw from the 5,000 most common tokens of a vocabulary of 32,000. Here the common tokens are the
    fewest that make up 95% of the corpus, which means the same for a vocabulary of any size.

    Args:
        embedding: shape (vocab_size, d_model).
        token_counts: occurrences in the corpus, shape (vocab_size,); None draws from the whole vocabulary.
        n: number of rows.
        generator: the only source of chance.
        special_ids: tokens never drawn, such as the padding and the end of text.

    Returns:
        Shape (n, d_model), float32.

    Raises:
        ValueError: no token is left to draw from.
    """
    counts = np.ones(len(embedding)) if token_counts is None else token_counts.astype(np.float64)
    counts[list(special_ids)] = 0
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    if len(order) == 0:
        raise ValueError("cannot initialise prompts from the vocabulary: no token has a count above 0")
    if token_counts is not None:
        mass = np.cumsum(counts[order]) / counts.sum()
        order = order[: int(np.searchsorted(mass, FREQUENT_MASS)) + 1]
    rounds = [torch.randperm(len(order), generator=generator) for _ in range(-(-n // len(order)))]
    ids = torch.from_numpy(order)[torch.cat(rounds)[:n]]
    return embedding[ids.to(embedding.device)].float()


def random_rows(embedding: Tensor, n: int, generator: Generator) -> Tensor:
    """Draws directions at random and gives each the mean norm of the vocabulary's rows, the scale the model is used to.

    Args:
        embedding: shape (vocab_size, d_model).
        n: number of rows.
        generator: the only source of chance.

    Returns:
        Shape (n, d_model), float32.
    """
    directions = torch.randn(n, embedding.shape[1], generator=generator).to(embedding.device)
    return match_norms(directions, embedding)


def text_rows(embedding: Tensor, ids: list[int], n: int) -> Tensor:
    """Copies the rows of a text, repeated or cut to fit, shape (n, d_model), float32.

    Raises:
        ValueError: the text has no tokens.
    """
    if not ids:
        raise ValueError("cannot initialise a prompt from an empty text")
    repeated = (ids * (n // len(ids) + 1))[:n]
    return embedding[torch.tensor(repeated, device=embedding.device)].float()


def match_norms(rows: Tensor, embedding: Tensor) -> Tensor:
    """Returns rows that point where they did, each as long as the vocabulary's rows are on average.

    Args:
        rows: shape (..., d_model); a row of zeros stays one.
        embedding: shape (vocab_size, d_model).
    """
    return nn.functional.normalize(rows.float(), dim=-1) * embedding.float().norm(dim=-1).mean()
