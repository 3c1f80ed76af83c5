"""How fast a PPO update is: behind prompts of many terrains, against a prompt in the embedding layer.

Programs of the bundled model, 32 for each of 3 terrains, are evaluated by the reference once and by the policy twice,
in batches of 32, each followed by a step of Adam on the prompts: an update of the quickstart. On one thread.
Contenders:

- ours: `softprompt.evaluate`, whose reference is the same model without a prompt;
- embedding layer: the model's own forward with the prompt in its embedding layer, one terrain a batch, logits of every
  position, and a second model as the reference;
- trlx's way: the same, and as `make_experience` does it the programs are read behind their prompt once more before the
  update, for the log-probabilities that they were written with; ours come with the programs, from the sampler;
- ceiling: the matrix products of ours, forward and backward, of the same sizes, back to back and nothing else.

They take turns, each is timed in processor seconds, and the ratios are medians over the turns. Memory is the most that
a process of its own takes for an update, on top of what it has when one model is loaded (read from Linux's /proc).

    python benchmarks/bench_learner.py            # some minutes; adds "learner" to benchmarks/results/sampling.json
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from contenders import processor_seconds, with_soft_embedding
from record import RESULTS, merge
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from distributed.config import BUNDLED_LM
from softprompt.logprobs.beginnings import WORTH_SHARING
from softprompt.logprobs.evaluate import chunks_of_rows, evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids
from softprompt.prompts.init import initial_prompts
from softprompt.prompts.table import SoftPromptTable
from softprompt.rl.ppo import policy_loss
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.sodarace.instruction import INSTRUCTION

TERRAINS, SAMPLES, BATCH, EPOCHS, N_SOFT_TOKENS = 3, 32, 32, 2, 20


class Update:
    """What both ways of an update are given: the model, programs, their log-probabilities and advantages."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.lm = FrozenLM.load(BUNDLED_LM)
        self.instruction = instruction_ids(self.lm, INSTRUCTION)
        requests = [SampleRequest(k, self.instruction, SAMPLES, k) for k in range(TERRAINS)]
        samples = Sampler(self.lm, GenerationConfig()).sample(None, requests)
        self.ids, self.mask, self.terrain = samples.ids, samples.mask, samples.terrain
        generator = torch.Generator().manual_seed(0)
        self.prompts = initial_prompts(self.lm.embedding, TERRAINS, N_SOFT_TOKENS, generator)
        self.advantages = torch.randn(len(self.ids), 1, generator=generator).expand(self.ids.shape)
        self.tokens = int(self.mask.sum())

    def loss(self, logprobs: Tensor, old: Tensor, rows: Tensor) -> Tensor:
        """PPO's loss on some rows."""
        return policy_loss(logprobs, old, self.advantages[rows], self.mask[rows], 0.2)[0]


class Ours:
    """An update with `softprompt.evaluate`, terrains mixed."""

    def __init__(self, update: Update) -> None:
        self.update = update

    def log_probabilities(self, prompts: Tensor | None, rows: Tensor) -> Tensor:
        """Of the programs in these rows, shape (n, l), each behind its terrain's prompt."""
        update = self.update
        instruction, owners = torch.tensor(update.instruction), update.terrain[rows]
        return evaluate(update.lm, prompts, instruction, update.ids[rows], update.mask[rows], prompt_of=owners)[0]

    def __call__(self) -> Tensor:
        """Makes an update and returns the prompts after it."""
        update, everything = self.update, torch.arange(len(self.update.ids))
        table = SoftPromptTable(update.prompts)
        optimizer = torch.optim.Adam(table.parameters(), lr=0.02)
        with torch.no_grad():
            old = self.log_probabilities(None, everything)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(everything)).split(BATCH):
                optimizer.zero_grad()
                logprobs = self.log_probabilities(table.prompts(), rows)
                update.loss(logprobs, old[rows], rows).backward()
                optimizer.step()
        return table.weight


class InEmbedding:
    """An update with the prompt in the embedding layer and a second model as the reference, one terrain a batch.

    Args:
        update: what is to be made.
        reads_again: whether the policy's log-probabilities of its own programs are worked out first, as trlx does.
    """

    def __init__(self, update: Update, reads_again: bool = False) -> None:
        self.update, self.reads_again = update, reads_again
        self.model = with_soft_embedding(update.lm, update.prompts[0])
        self.reference = copy.deepcopy(update.lm.model)

    def log_probabilities(self, model: torch.nn.Module, n_before: int, rows: Tensor) -> Tensor:
        """Of the programs in these rows, shape (n, l), behind so many soft tokens."""
        update = self.update
        n, before = len(rows), n_before + len(update.instruction)
        start = torch.tensor([[update.lm.pad_id] * n_before + list(update.instruction)] * n)
        ids = torch.cat([start, update.ids[rows]], dim=1)
        seen = torch.cat([torch.ones_like(start), update.mask[rows].long()], dim=1)
        logprobs = model(input_ids=ids, attention_mask=seen, use_cache=False).logits[:, :-1].log_softmax(dim=-1)
        chosen = logprobs.gather(2, ids[:, 1:, None])[:, before - 1 :, 0]
        return torch.where(update.mask[rows], chosen, 0)

    def __call__(self) -> None:
        """Makes an update."""
        update = self.update
        batches = list(torch.arange(len(update.ids)).split(SAMPLES))
        embedding = self.model.get_input_embeddings()
        prompts = [torch.nn.Parameter(rows.clone()) for rows in update.prompts]
        optimizer = torch.optim.Adam(prompts, lr=0.02)
        with torch.no_grad():
            old = [self.log_probabilities(self.reference, 0, rows) for rows in batches]
            for terrain, rows in enumerate(batches if self.reads_again else []):
                embedding.rows = prompts[terrain]
                self.log_probabilities(self.model, N_SOFT_TOKENS, rows)
        for _ in range(EPOCHS):
            for terrain, rows in enumerate(batches):
                optimizer.zero_grad()
                embedding.rows = prompts[terrain]
                logprobs = self.log_probabilities(self.model, N_SOFT_TOKENS, rows)
                update.loss(logprobs, old[terrain], rows).backward()
                optimizer.step()


class Ceiling:
    """The matrix products of our update: of the reference forward, of the policy forward and backward."""

    def __init__(self, update: Update) -> None:
        config = update.lm.model.config
        d, ff = config.hidden_size, config.intermediate_size
        self.heads, self.head_dim, self.layers = config.num_attention_heads, config.head_dim, config.num_hidden_layers
        self.weights = [torch.randn(size) for size in [(d, 3 * d), (d, d), (d, 2 * ff), (ff, d)]]
        self.head = torch.randn(d, config.vocab_size)
        self.lengths = update.mask.sum(dim=1).tolist()
        self._operands: dict[tuple[int, ...], Tensor] = {}
        before, everything = len(update.instruction), torch.arange(len(self.lengths))
        self.reference = self._shapes([everything], before)
        self.policy = self._shapes(everything[torch.randperm(len(everything))].split(BATCH), N_SOFT_TOKENS + before)

    def _shapes(self, batches: Sequence[Tensor], before: int) -> list[tuple[int, int, int, int]]:
        """Rows, cells read of each, cells seen before them, and tokens predicted, of all that `evaluate` reads."""
        shapes = []
        shared = before >= WORTH_SHARING
        for batch in batches:
            if shared:
                shapes.append((TERRAINS, before, 0, 0))
            order = sorted(batch.tolist(), key=self.lengths.__getitem__)
            besides = -1 if shared else before - 1
            for rows in chunks_of_rows(order, self.lengths, besides, torch.device("cpu")):
                tokens = [self.lengths[row] for row in rows]
                shapes.append((len(rows), max(tokens) + besides, before if shared else 0, sum(tokens)))
        return shapes

    @torch.inference_mode()
    def __call__(self) -> None:
        """Makes the products."""
        for shape in self.reference:
            self._run(*shape, backward=False)
        for _ in range(EPOCHS):
            for shape in self.policy:
                self._run(*shape, backward=True)

    def _run(self, rows: int, length: int, before: int, tokens: int, backward: bool) -> None:
        widths = {w for m in self.weights for w in m.shape}
        inputs = {width: self._operand(rows * length, width) for width in widths}
        cells = self._operand(rows * self.heads, length, self.head_dim)
        # Attention looks back only, which is half of a square, and at all that stands before.
        seen = self._operand(rows * self.heads, before + length // 2, self.head_dim)
        weights = self._operand(rows * self.heads, length, before + length // 2)
        for _ in range(self.layers):
            for weight in self.weights:
                inputs[weight.shape[0]] @ weight
                if backward:
                    inputs[weight.shape[1]] @ weight.T
            for _ in range(3 if backward else 1):
                torch.bmm(cells, seen.transpose(1, 2))
                torch.bmm(weights, seen)
        logits = self._operand(tokens, self.head.shape[0]) @ self.head
        if backward:
            logits @ self.head.T

    def _operand(self, *size: int) -> Tensor:
        """Numbers to multiply, drawn once for each size: only the products are to take time."""
        if size not in self._operands:
            self._operands[size] = torch.randn(size)
        return self._operands[size]


def check(update: Update) -> None:
    """Both ways have to see the same log-probabilities."""
    rows = torch.arange(SAMPLES)
    ours, theirs = Ours(update), InEmbedding(update)
    with torch.no_grad():
        pairs = (
            (ours.log_probabilities(update.prompts, rows), (theirs.model, N_SOFT_TOKENS)),
            (ours.log_probabilities(None, rows), (theirs.reference, 0)),
        )
        for found, (model, n_before) in pairs:
            torch.testing.assert_close(found, theirs.log_probabilities(model, n_before, rows), atol=1e-3, rtol=1e-3)


def peak_megabytes(way: Callable[[Update], Callable[[], object]]) -> float:
    """Most memory that an update takes, in a process of its own, on top of what the loaded model takes."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_grown, (way,))


def _grown(way: Callable[[Update], Callable[[], object]]) -> float:
    update = Update()
    before = _most()
    contender = way(update)
    contender()
    return _most() - before


def _most() -> float:
    """The most memory that this process has taken so far, in MB; getrusage would count its parent's too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 2**10 if found else float("nan")


def measure(rounds: int, console: Console) -> dict[str, object]:
    """The medians over rounds."""
    update = Update()
    check(update)
    contenders = {
        "ours": Ours(update),
        "embedding": InEmbedding(update),
        "trlx": InEmbedding(update, True),
        "ceiling": Ceiling(update),
    }
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
    for _ in track(range(rounds), description="updating", console=console):
        for name, contender in contenders.items():
            turns[name].append(processor_seconds(contender))
    ratios = {
        name: median(theirs / ours for ours, theirs in zip(turns["ours"], turns[name], strict=True)) for name in turns
    }
    return {
        "update_ratio": round(ratios["embedding"], 2),
        "trlx_ratio": round(ratios["trlx"], 2),
        "ceiling_share": round(ratios["ceiling"], 3),
        "tokens_per_second": {name: round(update.tokens / median(times)) for name, times in turns.items()},
        "peak_megabytes": round(peak_megabytes(Ours)),
        "peak_megabytes_embedding": round(peak_megabytes(InEmbedding)),
        "tokens": update.tokens,
        "programs": len(update.ids),
        "epochs": EPOCHS,
        "n_soft_tokens": N_SOFT_TOKENS,
        "rounds": rounds,
    }


def show(found: dict) -> Table:
    speeds = found["tokens_per_second"]
    table = Table(title=f"A PPO update on {found['programs']} programs, {found['tokens']} tokens, one thread")
    for heading in ("", "tokens per second", "peak memory"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("ours", f"{speeds['ours']}", f"{found['peak_megabytes']} MB")
    table.add_row("prompt in the embedding layer", f"{speeds['embedding']}", f"{found['peak_megabytes_embedding']} MB")
    table.add_row("trlx's way: read once more before", f"{speeds['trlx']}", "")
    table.add_row("matrix products alone", f"{speeds['ceiling']}", "")
    table.caption = (
        f"{found['update_ratio']} times as fast, {found['trlx_ratio']} times trlx's way, "
        f"{found['ceiling_share']:.0%} of the ceiling"
    )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which the contenders take turns")
    parser.add_argument("--out", type=Path, default=RESULTS / "sampling.json")
    arguments = parser.parse_args()
    found = measure(arguments.rounds, Console(stderr=True))
    merge(arguments.out, {"learner": found})
    Console().print(show(found))


if __name__ == "__main__":
    main()
