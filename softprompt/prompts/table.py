"""Soft prompts: one block of trainable rows per terrain, how the rows are born and how they are watched."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Generator, Tensor, nn

FREQUENT_MASS = 0.95


class PromptSource(Protocol):
    """What yields one soft prompt per terrain. Sources are modules: they have parameters and a state."""

    @property
    def n_soft_tokens(self) -> int:
        """Rows per terrain."""
        ...

    @property
    def rows(self) -> nn.Parameter:
        """The parameter whose entries are rows of prompts; it wants a prompt's learning rate, the others a network's.

        Shape (n_terrains or 1, n_soft_tokens, d_model).
        """
        ...

    def prompts(self, known: Tensor | None = None) -> Tensor:
        """Returns the prompts of all terrains, shape (n_terrains, n_soft_tokens, d_model), differentiable.

        Args:
            known: which terrains may be told by what they are called, shape (n_terrains,) bool; None for all. A source
                that never looks at that takes no notice.
        """
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yields everything that is trained, by name."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns the tensors that ``load_state_dict`` takes."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Continues where another source of the same kind and size was."""
        ...


class SoftPromptTable(nn.Module):
    """One independent soft prompt per terrain (Lester et al. 2021, section 2, once per terrain).

    Attributes:
        weight: the only parameter, shape (n_terrains, n_soft_tokens, d_model).
    """

    def __init__(self, initial: Tensor) -> None:
        """Makes a table of float32 parameters from a copy of its initial value.

        Args:
            initial: shape (n_terrains, n_soft_tokens, d_model), usually from :func:`initial_prompts`.

        Raises:
            ValueError: the shape is not of three dimensions, or a terrain would have no soft token.
        """
        super().__init__()
        if initial.ndim != 3:
            raise ValueError(f"prompts have shape (n_terrains, n_soft_tokens, d_model), not {tuple(initial.shape)}")
        _check_size(initial.shape[1])
        self.weight = nn.Parameter(initial.detach().to(torch.float32, copy=True))

    @property
    def n_soft_tokens(self) -> int:
        """Rows per terrain."""
        return self.weight.shape[1]

    def forward(self, terrain_index: Tensor) -> Tensor:
        """Returns the prompts of these terrains, shape (b,) to (b, n_soft_tokens, d_model)."""
        return take_prompts(self.weight, terrain_index)

    @property
    def rows(self) -> nn.Parameter:
        """The table itself."""
        return self.weight

    def prompts(self, known: Tensor | None = None) -> Tensor:
        """Returns the prompts of all terrains, shape (n_terrains, n_soft_tokens, d_model); see PromptSource."""
        return self.weight


def take_prompts(prompts: Tensor, terrain_index: Tensor) -> Tensor:
    """Returns the prompts of these terrains, shape (b, n_soft_tokens, d_model); a terrain may be asked for many times.

    Plain indexing would return the same, but its gradient is summed by several threads in the order of their arrival,
    so that two runs of the same seed drift apart.

    Args:
        prompts: shape (n_terrains, n_soft_tokens, d_model).
        terrain_index: shape (b,).
    """
    return nn.functional.embedding(terrain_index, prompts.flatten(1)).unflatten(1, prompts.shape[1:])


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
    _check_size(n_soft_tokens)
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


def prompt_drift(prompts: Tensor, start: Tensor) -> Tensor:
    """Returns how far each terrain's rows have moved on average (mean L2 distance per row), shape (n_terrains,).

    Args:
        prompts: shape (n_terrains, n_soft_tokens, d_model).
        start: where they started, same shape.
    """
    return (prompts.detach() - start.detach()).norm(dim=-1).mean(dim=-1)


def relative_step(prompts: Tensor, before: Tensor) -> Tensor:
    """Returns how far each terrain's prompt has moved, as a share of its length, shape (n_terrains,).

    Args:
        prompts: shape (n_terrains, n_soft_tokens, d_model).
        before: where they were, same shape.
    """
    distance = (prompts.detach() - before.detach()).flatten(1).norm(dim=1)
    return distance / before.detach().flatten(1).norm(dim=1).clamp(min=torch.finfo(before.dtype).tiny)


def nearest_tokens(prompts: Tensor, embedding: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Finds the tokens that point most nearly the way each row does.

    Args:
        prompts: shape (..., d_model).
        embedding: shape (vocab_size, d_model).
        k: neighbours per row.

    Returns:
        Token ids, shape (..., k), nearest first, and their cosine similarity, same shape.
    """
    rows = nn.functional.normalize(prompts.detach().float(), dim=-1)
    similarity = rows @ nn.functional.normalize(embedding.detach().float(), dim=-1).T
    values, ids = similarity.topk(k, dim=-1)
    return ids, values


def _check_size(n_soft_tokens: int) -> None:
    if n_soft_tokens < 1:
        raise ValueError(
            f"n_soft_tokens is {n_soft_tokens}, but a prompt has at least 1 row; for no prompt at all use prompts=None"
        )
