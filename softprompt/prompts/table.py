"""Soft prompts: one block of trainable rows per terrain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class PromptSource(Protocol):
    """What yields one soft prompt per terrain. Sources are modules: they have parameters and a state."""

    @property
    def n_soft_tokens(self) -> int:
        """Rows per terrain."""
        ...

    @property
    def rows(self) -> nn.Parameter:
        """The parameter that holds rows of prompts, shape (n_terrains or 1, n_soft_tokens, d_model).

        It is trained with the learning rate of prompts, all other parameters with that of networks.
        """
        ...

    def prompts(self, known: Tensor | None = None) -> Tensor:
        """Returns the prompts of all terrains, shape (n_terrains, n_soft_tokens, d_model), differentiable.

        Args:
            known: which terrains may be recognised by their id, shape (n_terrains,) bool; None for all. Sources that
                do not use ids ignore it.
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
            initial: shape (n_terrains, n_soft_tokens, d_model), usually from :func:`.initial_prompts`.

        Raises:
            ValueError: the shape is not of three dimensions, or a terrain would have no soft token.
        """
        super().__init__()
        if initial.ndim != 3:
            raise ValueError(f"prompts have shape (n_terrains, n_soft_tokens, d_model), not {tuple(initial.shape)}")
        check_size(initial.shape[1])
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


def check_size(n_soft_tokens: int) -> None:
    """Raises ValueError if a prompt would have no row."""
    if n_soft_tokens < 1:
        raise ValueError(
            f"n_soft_tokens is {n_soft_tokens}, but a prompt has at least 1 row; for no prompt at all use prompts=None"
        )
