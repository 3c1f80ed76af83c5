"""Evolution strategies: the direction of better prompts from scores alone, without a gradient of the model."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def perturbations(rows: Tensor, pairs: int, noise: float, generator: Generator) -> Tensor:
    """Draws what is added to prompts, and taken from them, to be compared.

    Args:
        rows: the prompts, shape (n_terrains, n_soft_tokens, d_model).
        pairs: antithetic pairs.
        noise: standard deviation, as a share of the root mean square of a terrain's own numbers.
        generator: the only source of chance, on the CPU.

    Returns:
        Shape (pairs, n_terrains, n_soft_tokens, d_model), on the device of the prompts.
    """
    drawn = torch.randn(pairs, *rows.shape, generator=generator).to(rows.device)
    return drawn * noise * rows.detach().square().mean(dim=(1, 2), keepdim=True).sqrt()


def centered_ranks(x: Tensor) -> Tensor:
    """Returns the ranks of x, shape (n,), evenly spread from -0.5 to 0.5; equal entries share the mean of theirs.

    Source: Salimans et al. 2017, arXiv 1703.03864, section 2, after Wierstra et al. 2014. If all are equal, all get 0.
    """
    n = len(x)
    below = (x[None] < x[:, None]).sum(dim=1)
    alike = (x[None] == x[:, None]).sum(dim=1)
    ranks = below + (alike - 1) / 2
    return ranks / max(1, n - 1) - 0.5 if n > 1 else torch.zeros_like(ranks)


def evolution_gradient(added: Tensor, plus: Tensor, minus: Tensor) -> Tensor:
    """Returns the direction in which scores fall, for an optimizer that goes the other way.

    The estimate of Salimans et al. 2017 (arXiv 1703.03864, section 2) from antithetic pairs, with the ranks of a
    terrain's 2 m scores in their place, divided by the deviation of the perturbation so that its size does not depend
    on it: minus the mean over pairs of ``(rank_plus - rank_minus) / 2 * added / deviation``.

    Args:
        added: what was added to the prompts and taken from them, shape (m, n_terrains, n_soft_tokens, d_model).
        plus: scores behind prompts with it added, shape (m, n_terrains).
        minus: scores behind prompts with it taken away, shape (m, n_terrains).

    Returns:
        Shape (n_terrains, n_soft_tokens, d_model); zeros for a terrain whose scores are all equal.
    """
    ranks = torch.stack([centered_ranks(scores) for scores in torch.cat([plus, minus]).T], dim=1).to(added)
    weights = (ranks[: len(plus)] - ranks[len(plus) :]) / 2
    deviation = added.square().mean(dim=(0, 2, 3), keepdim=True).sqrt()
    unit = added / deviation.clamp(min=torch.finfo(added.dtype).tiny)
    return -(weights[:, :, None, None] * unit).mean(dim=0)
