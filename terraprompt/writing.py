"""Texts behind a soft prompt, as the sampler draws them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from distributed.config.method import GenKwargs
from distributed.errors import UserError
from distributed.rollout.instructions import instruction_ids
from softprompt.ambient import usual_torch
from softprompt.finite import NotFiniteError
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import program_texts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest


def written(
    lm: FrozenLM, prompts: np.ndarray, asked: Sequence[tuple[str, int]], drawing: GenKwargs, seed: int
) -> list[str]:
    """Returns whole texts, those of the first instruction first.

    Args:
        lm: the language model.
        prompts: the soft prompts, shape (n_prompts, n_soft_tokens, d). The texts of an instruction are written behind
            all of them evenly, beginning with that of number seed modulo n_prompts.
        asked: instructions, and how many texts are written behind each.
        drawing: how tokens are drawn.
        seed: that of the first instruction's texts; the seeds of others follow from it.

    Raises:
        UserError: a text would be longer than the language model reads, or its numbers are not finite.
    """
    tokens = [instruction_ids(lm, text) for text, _ in asked]
    seeds = [seed, *np.random.SeedSequence(seed).generate_state(len(asked))[1:].tolist()]
    turns = [np.bincount((seed + np.arange(count)) % len(prompts)) for _, count in asked]
    requests = [
        SampleRequest(which, ids, int(count), own + which)
        for ids, own, counts in zip(tokens, seeds, turns, strict=True)
        for which, count in enumerate(counts.tolist())
        if count
    ]
    config = GenerationConfig(**drawing.sampler_settings(max(map(len, tokens))))
    rows = torch.from_numpy(prompts).to(lm.device)
    try:
        with usual_torch():
            samples = Sampler(lm, config).sample(rows, requests)
    except NotFiniteError as error:
        raise UserError(f"{error}: the prompt or the language model is damaged") from None
    except ValueError as error:
        raise UserError(str(error)) from None
    ids = [row[kept].tolist() for row, kept in zip(samples.ids.cpu(), samples.mask.cpu(), strict=True)]
    texts = [text for text, count in asked for _ in range(count)]
    return program_texts(lm.tokenizer, texts, samples.instructions, ids)
