"""The language model of trlx's PPO, with a soft prompt per terrain inside its embedding.

trlx knows token ids alone: its sampling does, its losses and its rollout store. So ids from the size of the vocabulary
on stand for rows of prompts, those of terrain ``i`` from ``vocab_size + i * n_soft_tokens`` on, and nothing of trlx's
PPO has to be replaced. Import it after `softprompt.trlx.compat.apply_repairs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from trlx.models.modeling_ppo import AutoModelForCausalLMWithHydraValueHead

NEVER = -1e4
"""Logit of an id that stands for a row of a prompt: it cannot be drawn, and float16 can hold it."""


class PromptedEmbedding(nn.Module):
    """The frozen embedding, and behind its last row the trainable rows of all prompts.

    Args:
        frozen: the language model's embedding, of whatever class; families that scale its rows go on to.
        first: what the prompts start from, shape (n_terrains, n_soft_tokens, d_model).

    Attributes:
        rows: the prompts, float32, of the shape of ``first``.
    """

    def __init__(self, frozen: Any, first: Tensor) -> None:
        super().__init__()
        self.frozen = frozen
        self.rows = nn.Parameter(first.detach().to(frozen.weight.device, torch.float32, copy=True))

    @property
    def weight(self) -> Tensor:
        """The frozen embedding's, shape (vocab_size, d_model)."""
        return self.frozen.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Returns what the model reads for each id, shape (..., d_model)."""
        size = self.weight.shape[0]
        virtual = ids >= size
        hard = self.frozen(ids.masked_fill(virtual, 0))
        soft = nn.functional.embedding((ids - size).clamp(min=0), self.rows.flatten(0, 1))
        return torch.where(virtual[..., None], soft.to(hard.dtype), hard)


class PaddedHead(nn.Module):
    """The language model's head, tied or not, with logits for the ids of prompts too, so that trlx can gather them."""

    def __init__(self, head: nn.Module, extra: int) -> None:
        super().__init__()
        self.head, self.extra = head, extra

    @property
    def weight(self) -> Tensor:
        """The head's own weight."""
        weight = self.head.weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns logits, shape (..., vocab_size + extra)."""
        return nn.functional.pad(self.head(hidden), (0, self.extra), value=NEVER)


class PromptedPolicy(AutoModelForCausalLMWithHydraValueHead):
    """A frozen language model with trainable prompts and trlx's value head; it is its own reference."""

    frozen_head = None
    """trlx calls `forward_hydra` for the reference where there is such an attribute; a branch is not needed."""

    def attach(self, first: Tensor) -> PromptedPolicy:
        """Freezes the language model and puts prompts into it, shape (n_terrains, n_soft_tokens, d_model)."""
        self.base_model.requires_grad_(False)
        self.table = PromptedEmbedding(self.base_model.get_input_embeddings(), first)
        self.base_model.set_input_embeddings(self.table)
        head = self.base_model.get_output_embeddings()
        self.base_model.set_output_embeddings(PaddedHead(head, first.shape[0] * first.shape[1]))
        self._ignored = 0
        return self

    @property
    def vocab_size(self) -> int:
        """The first id that stands for a row of a prompt."""
        return self.table.weight.shape[0]

    @contextmanager
    def divergence_of_outputs(self) -> Iterator[None]:
        """While it lasts, logits of everything before `outputs_from` are equal, of policy and reference.

        trlx takes the divergence over prompt and output together, and with soft prompts that of the prompt is huge: the
        reference does not read them.
        """
        try:
            yield
        finally:
            self._ignored = 0

    def outputs_from(self, position: int) -> None:
        """Says where the outputs of the rows to come begin."""
        self._ignored = max(0, position - 1)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """trlx's forward of policy and value head; see `divergence_of_outputs`."""
        return self._blanked(super().forward(*args, **kwargs))

    def forward_hydra(self, input_ids: Tensor, attention_mask: Tensor, **kwargs: Any) -> Any:
        """Returns what the same language model says without the prompts, which the mask hides from it."""
        kept = attention_mask * (input_ids < self.vocab_size)
        positions = (kept.cumsum(-1) - 1).masked_fill(kept == 0, 1)
        return self.forward(input_ids, kept, position_ids=positions, return_dict=kwargs.get("return_dict", True))

    def _blanked(self, outputs: Any) -> Any:
        if not self._ignored:
            return outputs
        logits = outputs[0].clone() if isinstance(outputs, tuple) else outputs.logits.clone()
        logits[:, : self._ignored] = 0
        if isinstance(outputs, tuple):
            return (logits, *outputs[1:])
        outputs["logits"] = logits
        return outputs
