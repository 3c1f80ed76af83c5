"""What the samplers and the learner are compared with: prompts in the embedding layer, and PEFT's prompt tuning."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from softprompt.models.frozen import FrozenLM
from softprompt.prompts.peft_io import save_prompt


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process, which on one thread are those of the clock on an idle machine."""
    began = time.process_time()
    work()
    return time.process_time() - began


class SoftEmbedding(nn.Module):
    """An embedding whose first rows of every sequence are trained: the ids that stand there are not looked at."""

    def __init__(self, embedding: nn.Module, rows: Tensor) -> None:
        super().__init__()
        self.embedding, self.rows = embedding, nn.Parameter(rows.clone())

    def forward(self, ids: Tensor) -> Tensor:
        """Returns the rows, then the embedded ids behind them, shape (b, l, d_model)."""
        return torch.cat([self.rows.expand(len(ids), -1, -1), self.embedding(ids[:, len(self.rows) :])], dim=1)


def endless(lm: FrozenLM) -> PreTrainedModel:
    """Returns a copy of the model that knows no end token: generate would take one from it where it is given none."""
    model = copy.deepcopy(lm.model)
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    return model


def with_soft_embedding(lm: FrozenLM, rows: Tensor) -> PreTrainedModel:
    """Returns a copy of the model, frozen but for these rows in its embedding layer."""
    model = endless(lm)
    model.set_input_embeddings(SoftEmbedding(model.get_input_embeddings(), rows))
    return model


def with_peft(lm: FrozenLM, prompts: Tensor) -> nn.Module:
    """Returns PEFT's model with one prompt-tuning adapter a prompt, named by its number."""
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        places = [
            str(save_prompt(Path(folder) / str(k), rows, None, lm.model.config)) for k, rows in enumerate(prompts)
        ]
        wrapped = PeftModel.from_pretrained(endless(lm), places[0], adapter_name="0")
        for k, place in enumerate(places[1:], start=1):
            wrapped.load_adapter(place, adapter_name=str(k))
    return wrapped.eval()


def plain_generation(lm: FrozenLM, tokens: int, use_cache: bool) -> GenerationConfig:
    """Settings of transformers' generate: so many tokens of the model's own distribution, whatever they are."""
    return GenerationConfig(
        max_new_tokens=tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        use_cache=use_cache,
        pad_token_id=lm.pad_id,
        eos_token_id=None,
    )
