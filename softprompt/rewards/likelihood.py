"""A language model's own likelihood as a reward: the mean log-probability of what was written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids
from softprompt.models.source import LOADING

BUNDLED = "bundled"
BUNDLED_LM = Path(__file__).resolve().parents[1] / "lm" / "tiny"


class LikelihoodConfig(BaseModel):
    """Settings of the reward ``likelihood``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    model: str = BUNDLED
    """A causal language model: ``bundled``, a folder, or a name on the hub."""
    output: Literal["mean", "sum", "probability"] = "mean"
    """The mean log-probability of a token in nats, their sum, or the geometric mean of the tokens' probabilities."""
    floor: float = -20.0
    """No output is given a smaller mean log-probability than this."""
    batch_size: int = Field(16, ge=1)
    """Texts that are read at once."""
    dtype: str = "float32"
    """The model's torch dtype."""
    device: str = "cpu"
    """Torch device, such as ``cuda``."""


class Likelihood:
    """Rewards outputs that a language model finds likely. It is loaded at the first call, once a process."""

    Config = LikelihoodConfig

    def __init__(self, config: LikelihoodConfig) -> None:
        self.config = config

    def __call__(self, prompts: Sequence[str], outputs: Sequence[str]) -> list[float]:
        """Returns a reward for each output; an output without tokens gets the floor.

        Raises:
            ValueError: there is no such model.
        """
        with LOADING:  # threads that ask at once have one model, too
            lm = _loaded(self.config.model, self.config.dtype, self.config.device)
        found: list[tuple[float, int]] = []
        for start in range(0, len(outputs), self.config.batch_size):
            rows = slice(start, start + self.config.batch_size)
            found += log_likelihoods(lm, prompts[rows], outputs[rows])
        return [self._reward(total, count) for total, count in found]

    def _reward(self, total: float, count: int) -> float:
        mean = max(total / count, self.config.floor) if count else self.config.floor
        if self.config.output == "mean":
            return mean
        return mean * max(count, 1) if self.config.output == "sum" else float(torch.tensor(mean).exp())


@torch.inference_mode()
def log_likelihoods(lm: FrozenLM, prompts: Sequence[str], outputs: Sequence[str]) -> list[tuple[float, int]]:
    """Returns log p(output | prompt) in nats, and of how many tokens it is the sum, for each pair of texts.

    Prompt and output are tokenized one by one. Where a prompt has no tokens, and the tokenizer sets no start token, the
    output's first token has no probability and is left out.
    """
    before = [list(instruction_ids(lm, prompt)) for prompt in prompts]
    after = [list(lm.tokenizer(output, add_special_tokens=False)["input_ids"]) for output in outputs]
    length = max(map(len, (first + second for first, second in zip(before, after, strict=True))), default=0)
    if not length:
        return [(0.0, 0)] * len(outputs)
    ids = torch.full((len(outputs), length), lm.pad_id)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, (first, second) in enumerate(zip(before, after, strict=True)):
        ids[row, : len(first) + len(second)] = torch.tensor(first + second, dtype=ids.dtype)
        mask[row, len(first) : len(first) + len(second)] = True
    ids, mask = ids.to(lm.device), mask.to(lm.device)
    # Right-padded, so that a causal model reads no padding before what is real.
    logits = lm.model(input_ids=ids).logits[:, :-1].float()
    logprobs = logits.log_softmax(dim=-1).gather(2, ids[:, 1:, None])[..., 0].double()
    kept = mask[:, 1:]
    sums = logprobs.masked_fill(~kept, 0.0).sum(dim=1).tolist()
    return list(zip(sums, kept.sum(dim=1).tolist(), strict=True))


@lru_cache(maxsize=4)
def _loaded(model: str, dtype: str, device: str) -> FrozenLM:
    return FrozenLM.load(BUNDLED_LM if model == BUNDLED else model, dtype, device)
