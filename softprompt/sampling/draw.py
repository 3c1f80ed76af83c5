"""Drawing the next token: from the model's own distribution or one shaped by temperature, top_k and top_p."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from softprompt.kernels.draw import draw_rows

_draw_rows: Any = draw_rows  # numba's type of a compiled function does not know its arguments


class GenerationConfig(BaseModel):
    """How the next token is drawn. The defaults draw from the model's own distribution.

    Attributes:
        max_new_tokens: most tokens of a program, its end token included.
        min_new_tokens: fewest tokens of a program; before, no end token can be drawn. A stop string may end it sooner.
        temperature: logits are divided by it.
        top_k: only the k likeliest tokens are drawn; 0 for all.
        top_p: only the fewest tokens that hold this much probability are drawn (Holtzman et al. 2020, arXiv 1904.09751,
            section 3.1).
        do_sample: False takes the likeliest token every time, whatever the three above say.
        stop_strings: texts at which a program ends, behind the token that completes one of them.
        end_tokens: tokens that end a program; None for the language model's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(default=160, ge=1)
    min_new_tokens: int = Field(default=0, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    do_sample: bool = True
    stop_strings: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    end_tokens: tuple[Annotated[int, Field(ge=0)], ...] | None = None

    @model_validator(mode="after")
    def _shortest_is_no_longer_than_the_longest(self) -> GenerationConfig:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} is above max_new_tokens {self.max_new_tokens}")
        return self

    @property
    def shapes_logits(self) -> bool:
        """Whether tokens are drawn from another distribution than the model's own, end tokens aside."""
        return self.do_sample and (self.temperature, self.top_k, self.top_p) != (1, 0, 1)


def draw(logits: Tensor, uniforms: Tensor, config: GenerationConfig) -> tuple[Tensor, Tensor]:
    """Draws one token per row by inverting the cumulative distribution at the row's uniform number.

    Args:
        logits: shape (n, vocab_size).
        uniforms: numbers in [0, 1), shape (n,).
        config: how tokens are drawn.

    Returns:
        Ids, shape (n,), and the log-probability each was drawn with, shape (n,).
    """
    if config.do_sample and not config.shapes_logits and logits.is_cpu and logits.dtype == torch.float32:
        return _draw_compiled(logits, uniforms)
    if config.do_sample:
        probabilities = shape_logits(logits, config).softmax(dim=-1)
        cumulative = probabilities.cumsum(dim=-1)
        # Below the total even after rounding: the first entry above the threshold always exists and is never ruled out.
        total = cumulative[:, -1:]
        threshold = torch.minimum(uniforms[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
        # Behind logits that are no numbers there is no such entry; their log-probability tells.
        chosen = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
    else:
        probabilities = logits.softmax(dim=-1)
        chosen = probabilities.argmax(dim=-1, keepdim=True)
    return chosen[:, 0], probabilities.gather(1, chosen)[:, 0].log()


def _draw_compiled(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    chosen, logprobs = torch.empty(len(logits), dtype=torch.int64), torch.empty(len(logits))
    # Contiguous, so that one compilation serves all.
    rows, numbers = logits.detach().contiguous(), uniforms.contiguous()
    _draw_rows(rows.numpy(), numbers.numpy(), chosen.numpy(), logprobs.numpy())
    return chosen, logprobs


def shape_logits(logits: Tensor, config: GenerationConfig) -> Tensor:
    """Returns logits after temperature, top_k and top_p, in this order; -inf for tokens ruled out.

    Args:
        logits: shape (n, vocab_size).
        config: temperature, top_k and top_p.
    """
    if config.temperature != 1:
        logits = logits / config.temperature
    if 0 < config.top_k < logits.shape[-1]:
        smallest = logits.topk(config.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if config.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        # A token is ruled out when the likelier ones already hold top_p; the likeliest always stays.
        ruled_out = probabilities.cumsum(dim=-1) - probabilities >= config.top_p
        logits = logits.masked_fill(ruled_out.scatter(1, order, ruled_out), -torch.inf)
    return logits
