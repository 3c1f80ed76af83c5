"""How fast programs are sampled: many terrains in one batch, against one terrain a batch.

The same bundled model, the same prompts and instruction, the same number of tokens from every sequence (none ends
early), on one thread, which is what a rollout worker has. Contenders:

- ours: all terrains in one batch, KV cache, our decoder;
- PEFT: transformers' generate with its cache, one prompt-tuning adapter a batch;
- embedding layer: transformers' generate without a cache, the prompt in the embedding layer, one terrain a batch;
- ceiling: the matrix products of ours, of the same sizes in the same order, back to back and nothing else; once with
  those of the attention, which read every row's keys and values from memory, and once those with the weights alone.

They take turns, each is timed in processor seconds, and the ratios are medians over the turns. With one terrain a batch
the speed does not depend on how many terrains wait, so of many terrains each turn takes some, the next turn the next.

    python benchmarks/bench_sampling.py           # some minutes; writes benchmarks/results/sampling.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from contenders import plain_generation, processor_seconds, with_peft, with_soft_embedding
from record import RESULTS, merge
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from distributed.config import BUNDLED_LM
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids
from softprompt.prompts.init import initial_prompts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.sodarace.instruction import INSTRUCTION

N_SOFT_TOKENS = 20
TOKENS = 128
TERRAINS_A_TURN = 8


@dataclass(frozen=True)
class Case:
    """A number of terrains, and how many programs of each."""

    key: str
    terrains: int
    samples: int

    @property
    def title(self) -> str:
        return f"{self.terrains} terrains, {self.samples} programs each"


CASES = (Case("64_terrains", 64, 4), Case("3_terrains", 3, 32), Case("3_terrains_4_samples", 3, 4))


class Contest:
    """All contenders on one case."""

    def __init__(self, case: Case, lm: FrozenLM, tokens: int) -> None:
        self.case, self.lm, self.tokens = case, lm, tokens
        self.instruction = instruction_ids(lm, INSTRUCTION)
        generator = torch.Generator().manual_seed(0)
        self.prompts = initial_prompts(lm.embedding, case.terrains, N_SOFT_TOKENS, generator)
        self.sampler = Sampler(EndlessLM(lm), GenerationConfig(max_new_tokens=tokens))
        self.peft = with_peft(lm, self.prompts)
        self.seed_model = with_soft_embedding(lm, self.prompts[0])
        self.products = Products(lm, case, N_SOFT_TOKENS + len(self.instruction))

    def ours(self, turn: int) -> float:
        """Tokens a second."""
        rows, samples = self.case.terrains, self.case.samples
        requests = [SampleRequest(k, self.instruction, samples, 1000 * turn + k) for k in range(rows)]
        spent = processor_seconds(lambda: self.sampler.sample(self.prompts, requests))
        return rows * samples * self.tokens / spent

    def with_adapters(self, turn: int) -> float:
        """Tokens a second of PEFT."""
        config = plain_generation(self.lm, self.tokens, use_cache=True)
        ids = torch.tensor([self.instruction] * self.case.samples)

        def generate(terrain: int) -> None:
            self.peft.set_adapter(str(terrain))
            made = self.peft.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
            assert made.shape[1] >= self.tokens

        return self._one_by_one(generate, turn)

    def in_embedding(self, turn: int) -> float:
        """Tokens a second of the prompt in the embedding layer."""
        config = plain_generation(self.lm, self.tokens, use_cache=False)
        ids = torch.tensor([[self.lm.pad_id] * N_SOFT_TOKENS + list(self.instruction)] * self.case.samples)

        def generate(terrain: int) -> None:
            self.seed_model.get_input_embeddings().rows.data.copy_(self.prompts[terrain])
            made = self.seed_model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
            assert made.shape[1] == ids.shape[1] + self.tokens

        return self._one_by_one(generate, turn)

    def ceiling(self, attention: bool = True) -> float:
        """Tokens a second if only the matrix products took time, those of the attention included or not."""
        spent = processor_seconds(lambda: self.products.run(self.tokens, attention))
        return self.case.terrains * self.case.samples * self.tokens / spent

    def _one_by_one(self, generate: Callable[[int], None], turn: int) -> float:
        chosen = [(turn * TERRAINS_A_TURN + k) % self.case.terrains for k in range(TERRAINS_A_TURN)]
        chosen = chosen[: self.case.terrains]
        with torch.inference_mode():
            spent = processor_seconds(lambda: [generate(terrain) for terrain in chosen])
        return len(chosen) * self.case.samples * self.tokens / spent


class EndlessLM(FrozenLM):
    """The same model without an end token, so that every program has the same number of tokens."""

    def __init__(self, lm: FrozenLM) -> None:
        super().__init__(lm.model, lm.tokenizer)
        self.eos_ids = ()


class Products:
    """The matrix products of decoding a batch, with operands of the same sizes and as far apart in memory."""

    def __init__(self, lm: FrozenLM, case: Case, prompt: int) -> None:
        config = lm.model.config
        self.rows, self.prompt = case.terrains * case.samples, prompt
        self.heads, self.head_dim, self.layers = (
            config.num_attention_heads,
            config.head_dim,
            config.num_hidden_layers,
        )
        d, ff = config.hidden_size, config.intermediate_size
        sizes = [(d, 3 * d), (d, d), (d, 2 * ff), (ff, d)]
        self.weights = [[torch.randn(size) for size in sizes] for _ in range(self.layers)]
        self.head = torch.randn(d, config.vocab_size)
        self.inputs = {width: torch.randn(self.rows, width) for width in (d, ff)}
        self.outputs = {size: torch.empty(self.rows, size[1]) for size in [*sizes, self.head.shape]}
        self.queries = torch.randn(self.rows * self.heads, 1, self.head_dim)

    @torch.inference_mode()
    def run(self, tokens: int, attention: bool) -> None:
        """All products from the first token's logits to the last one's; those of the prompts are left out."""
        shape = (2, self.layers, self.rows * self.heads, self.prompt + tokens, self.head_dim)
        cache = new_memory(shape) if attention else None
        for length in range(self.prompt + 1, self.prompt + tokens):
            for layer, weights in enumerate(self.weights):
                for place, weight in enumerate(weights):
                    torch.mm(self.inputs[len(weight)], weight, out=self.outputs[tuple(weight.shape)])
                    if place == 0 and cache is not None:
                        keys, values = cache[:, layer, :, :length]
                        torch.bmm(torch.bmm(self.queries, keys.transpose(1, 2)), values)
            torch.mm(self.inputs[len(self.head)], self.head, out=self.outputs[tuple(self.head.shape)])


def new_memory(shape: tuple[int, ...]) -> Tensor:
    """Zeros that have been written, so that the first products do not pay for it; numpy asks for large pages."""
    return torch.from_numpy(np.empty(shape, np.float32)).zero_()


def measure(rounds: int, tokens: int, console: Console) -> dict[str, dict[str, list[float]]]:
    """Tokens a second of all contenders in each case, by round; in a round they take turns."""
    torch.set_num_threads(1)
    lm = FrozenLM.load(BUNDLED_LM)
    speeds: dict[str, dict[str, list[float]]] = {}
    with Progress(console=console) as progress:
        bar = progress.add_task("sampling", total=rounds * len(CASES))
        for case in CASES:
            contest = Contest(case, lm, tokens)
            contest.ours(0)  # the first one allocates
            turns = speeds.setdefault(case.key, {})
            for turn in range(rounds):
                for name, speed in (
                    ("ours", contest.ours(turn)),
                    ("ceiling", contest.ceiling()),
                    ("ceiling_weights", contest.ceiling(attention=False)),
                    ("peft", contest.with_adapters(turn)),
                    ("seed", contest.in_embedding(turn)),
                ):
                    turns.setdefault(name, []).append(speed)
                progress.advance(bar)
    return speeds


def summarise(speeds: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Median ratios of ours to the others, and all speeds."""

    def ratio(case: Case, name: str) -> float:
        turns = speeds[case.key]
        return round(median(ours / other for ours, other in zip(turns["ours"], turns[name], strict=True)), 2)

    many, few, fewest = CASES
    return {
        "seed_ratio": min(ratio(many, "seed"), ratio(few, "seed")),
        "peft_ratio": ratio(many, "peft"),
        "peft_ratio_3_terrains": ratio(few, "peft"),
        "peft_ratio_3_terrains_4_samples": ratio(fewest, "peft"),
        "ceiling_share": ratio(many, "ceiling"),
        "ceiling_share_3_terrains": ratio(few, "ceiling"),
        "ceiling_share_weights_alone": ratio(many, "ceiling_weights"),
        "sampling_tokens_per_second": {
            key: {name: round(median(found)) for name, found in turns.items()} for key, turns in speeds.items()
        },
    }


def show(found: dict[str, Any]) -> Table:
    table = Table(title="Tokens a second, one thread")
    headings = {
        "ours": "ours",
        "peft": "PEFT, cache",
        "seed": "embedding layer, no cache",
        "ceiling": "matrix products",
        "ceiling_weights": "those with weights",
    }
    table.add_column("")
    for heading in headings.values():
        table.add_column(heading, justify="right")
    for case in CASES:
        speeds = found["sampling_tokens_per_second"][case.key]
        table.add_row(case.title, *(f"{speeds[name]:,}" for name in headings))
    table.caption = (
        f"{found['peft_ratio']} times PEFT at 64 terrains, {found['peft_ratio_3_terrains']} at 3; "
        f"{found['seed_ratio']} times the embedding layer; {found['ceiling_share']:.0%} of the matrix products' speed"
    )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which the contenders take turns")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens of every program")
    parser.add_argument("--out", type=Path, default=RESULTS / "sampling.json")
    arguments = parser.parse_args()
    found = summarise(measure(arguments.rounds, arguments.tokens, Console(stderr=True)))
    merge(arguments.out, found | {"rounds": arguments.rounds, "tokens": arguments.tokens})
    Console(width=120).print(show(found))


if __name__ == "__main__":
    main()
