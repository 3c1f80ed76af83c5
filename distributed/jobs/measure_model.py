"""What a language model can do before any prompt is trained: the figures of its card, each measured here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids, program_texts
from softprompt.prompts.init import initial_prompts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.base import Attempt, Score, World
from terrains.sodarace.failures import DID_NOT_MOVE

PROMPT_SIZES = (1, 4, 8, 20, 50)
"""Sizes of the untrained prompts behind which validity is measured."""

CHUNK = 128
"""Programs sampled at a time."""

OnPart = Callable[[str], None]


def sample_programs(
    lm: FrozenLM, instruction: str, count: int, seed: int, prompts: torch.Tensor | None = None
) -> tuple[list[str], np.ndarray]:
    """Samples programs for one terrain.

    Args:
        lm: the language model.
        instruction: the hard prompt.
        count: how many programs.
        seed: decides all of them.
        prompts: one soft prompt, shape (1, n_soft_tokens, d), or None.

    Returns:
        The whole texts, and their lengths in sampled tokens, shape (count,).
    """
    tokens = instruction_ids(lm, instruction)
    sampler = Sampler(lm, GenerationConfig())
    texts: list[str] = []
    lengths: list[np.ndarray] = []
    for k in range(0, count, CHUNK):
        samples = sampler.sample(prompts, [SampleRequest(0, tokens, min(CHUNK, count - k), seed * 1_000_003 + k)])
        rows = [ids[mask].tolist() for ids, mask in zip(samples.ids, samples.mask, strict=True)]
        texts += program_texts(lm.tokenizer, [instruction] * len(rows), [tokens] * len(rows), rows)
        lengths.append(samples.mask.sum(1).cpu().numpy())
    return texts, np.concatenate(lengths)


def is_walker(score: Score) -> bool:
    """Whether a program made a valid walker, one that stands still included."""
    return score.valid or score.failure == DID_NOT_MOVE


def measure_model(
    lm: FrozenLM,
    world: World,
    terrains: Sequence[str],
    seed: int = 0,
    count: int = 512,
    best_of: int = 1024,
    on_part: OnPart = lambda _: None,
) -> dict:
    """Measures validity, uniqueness, length, fitness, and readiness for soft prompts.

    Args:
        lm: the language model.
        world: scores its programs.
        terrains: names of the terrains to score on.
        seed: seed of every sample.
        count: samples of the validity figures.
        best_of: samples of the fitness figures.
        on_part: told the name of each part before it is measured.

    Returns:
        JSON-ready figures: ``valid`` (walkers, moving or not), ``moving`` on some terrain,
        ``unique``, ``median_tokens``, ``fitness`` by terrain,
        ``behind_untrained_prompts`` and ``tuned_on_one_program``.
    """
    instruction = world.terrain(terrains[0]).instruction
    on_part(f"{best_of} samples of the model alone")
    programs, lengths = sample_programs(lm, instruction, best_of, seed)
    scores = world.score([Attempt(t, p) for p in programs for t in terrains])
    fitness = np.array([s.fitness for s in scores]).reshape(best_of, len(terrains))
    moving = np.array([s.valid for s in scores], dtype=bool).reshape(best_of, len(terrains))
    valid = np.array([is_walker(s) for s in scores], dtype=bool).reshape(best_of, len(terrains))
    figures = {
        "samples": count,
        "valid": round(float(np.any(valid[:count], axis=1).mean()), 3),
        "moving": round(float(np.any(moving[:count], axis=1).mean()), 3),
        "unique": round(len(set(programs[:count])) / count, 3),
        "median_tokens": int(np.median(lengths[:count])),
        "fitness": {
            t: {
                "mean": round(float(fitness[:, k].mean()), 2),
                f"best_of_{best_of}": round(float(fitness[:, k].max()), 1),
            }
            for k, t in enumerate(terrains)
        },
    }
    on_part("validity behind untrained prompts")
    figures["behind_untrained_prompts"] = measure_untrained_prompts(lm, world, terrains[0], seed, min(count, 128))
    on_part("likelihood of one program behind a tuned prompt")
    figures["tuned_on_one_program"] = tune_on_one(lm, instruction, programs[int(fitness[:, 0].argmax())], seed)
    return figures


def measure_untrained_prompts(
    lm: FrozenLM, world: World, terrain: str, seed: int, count: int
) -> dict[str, dict[str, float]]:
    """Validity behind prompts of every size, initialized from the vocabulary and at random; four prompts each."""
    return {
        start: {str(n): round(validity_behind(lm, world, terrain, seed, count, n, start), 3) for n in PROMPT_SIZES}
        for start in ("vocabulary", "random")
    }


def validity_behind(
    lm: FrozenLM, world: World, terrain: str, seed: int, count: int, rows: int, start: str = "vocabulary"
) -> float:
    """Share of valid programs behind four untrained prompts together, initialized from the vocabulary or at random."""
    instruction = world.terrain(terrain).instruction
    generator, specials = torch.Generator().manual_seed(seed), lm.special_ids
    prompts = initial_prompts(lm.embedding, 4, rows, generator, start == "vocabulary", lm.token_counts, specials)
    programs = [
        p for k in range(4) for p in sample_programs(lm, instruction, count // 4, seed + k, prompts[k : k + 1])[0]
    ]
    return float(np.mean([is_walker(s) for s in world.score([Attempt(terrain, p) for p in programs])]))


def tune_on_one(
    lm: FrozenLM, instruction: str, program: str, seed: int, rows: int = 20, steps: int = 150, lr: float = 0.05
) -> dict[str, float]:
    """Nats of one program behind a prompt tuned on it by maximum likelihood with Adam, at every 50th step."""
    head = torch.tensor(lm.tokenizer(instruction)["input_ids"])
    ids = torch.tensor([lm.tokenizer(program)["input_ids"][len(head) :] + [lm.eos_id]])
    prompt = initial_prompts(
        lm.embedding, 1, rows, torch.Generator().manual_seed(seed), True, lm.token_counts, lm.special_ids
    ).requires_grad_()
    optimizer = torch.optim.Adam([prompt], lr=lr)
    mask = torch.ones_like(ids, dtype=torch.bool)
    nats = {}
    for step in range(steps + 1):
        loss = -evaluate(lm, prompt, head, ids, mask)[0].sum()
        if step % 50 == 0:
            nats[str(step)] = round(loss.item(), 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return nats
