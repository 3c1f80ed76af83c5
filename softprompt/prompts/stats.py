"""What is logged about prompts: how far they have moved, and which tokens their rows are nearest to."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
