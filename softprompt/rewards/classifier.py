"""A sequence classifier of transformers as a reward: the probability of a label, or its logit."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from softprompt.models.source import LOADING, first_line, quiet_bars, resolve


class ClassifierConfig(BaseModel):
    """Settings of the reward ``classifier``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    model: str
    """A sequence classifier, by folder or name on the hub. Code that comes with it is never run."""
    label: str | int | None = None
    """The label that is rewarded, by name or number; left out, the only one there is, or ``POSITIVE``."""
    output: Literal["probability", "logit"] = "probability"
    """What the reward is. A model with one label has a logit alone, whose probability is its logistic function."""
    of: Literal["samples", "outputs"] = "samples"
    """What is read: the instruction and what was written, or that alone."""
    batch_size: int = Field(32, ge=1)
    """Texts that are read at once."""
    max_length: int | None = Field(512, ge=1)
    """Tokens that are read of a text, from its beginning."""
    device: str = "cpu"
    """Torch device, such as ``cuda``."""


class Classifier:
    """Rewards texts by what a classifier says of them. The model is loaded at the first call, once a process."""

    Config = ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        self.config = config

    @torch.inference_mode()
    def __call__(self, samples: Sequence[str], outputs: Sequence[str]) -> list[float]:
        """Returns a reward for each text.

        Raises:
            ValueError: there is no such model, or it has no such label.
        """
        with LOADING:  # threads that ask at once have one model, too
            model, tokenizer = _loaded(self.config.model, self.config.device)
        label = self._label(model.config)
        texts = list(samples if self.config.of == "samples" else outputs)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rewards = [0.0] * len(texts)
        for start in range(0, len(order), self.config.batch_size):
            places = order[start : start + self.config.batch_size]
            # A text without tokens would be a row without any cell that is real.
            batch = tokenizer(
                [texts[place] or " " for place in places],
                return_tensors="pt",
                padding=True,
                truncation=self.config.max_length is not None,
                max_length=self.config.max_length,
            )
            logits = model(**batch.to(self.config.device)).logits.float()
            for place, reward in zip(places, self._rewards(logits, label).tolist(), strict=True):
                rewards[place] = reward
        return rewards

    def _rewards(self, logits: Tensor, label: int) -> Tensor:
        """Rewards of a batch, shape (b,), of its logits, shape (b, n_labels)."""
        if self.config.output == "logit":
            return logits[:, label]
        return logits[:, 0].sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, label]

    def _label(self, config: Any) -> int:
        names = {int(number): str(name) for number, name in config.id2label.items()}
        if len(names) == 1 and self.config.label is None:
            return 0
        wanted = "POSITIVE" if self.config.label is None else self.config.label
        for number, name in names.items():
            if wanted == number or str(wanted).casefold() in (name.casefold(), str(number)):
                return number
        close = difflib.get_close_matches(str(wanted), names.values(), n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"{self.config.model} has no label {wanted!r}{meant} (its labels: {', '.join(names.values())})"
        )


@lru_cache(maxsize=4)
def _loaded(model: str, device: str) -> tuple[Any, Any]:
    """A model in eval mode and its tokenizer, loaded once a process."""
    try:
        source = resolve(model)
        quiet_bars()
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        network = AutoModelForSequenceClassification.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        raise ValueError(f"the classifier {model!r} cannot be loaded: {first_line(error)}") from None
    # Padding on the left would move what is real to other positions, where a model counts them itself.
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if network.config.pad_token_id is None:
        network.config.pad_token_id = tokenizer.pad_token_id
    return network.eval().requires_grad_(False).to(device), tokenizer
