"""What a GPU is worth, and what pays on it: bfloat16, CUDA graphs, batches in parts. Without a GPU nothing is measured.

The bundled model, and a random one of the preset ``base`` (85 million parameters), each in float32 and in bfloat16:

- sampling: 128 tokens of 4, and of 16, programs for each of 64 terrains: steps that are CUDA graphs; the same with
  their kernels launched one by one; and, of the bundled model, transformers' generate with PEFT, one terrain a batch.
  The first call, which captures the graphs, is told apart.
- learning: the policy's log-probabilities of 256 programs and their gradient by the prompts, and the memory it takes.
- pretraining: a step of the preset ``base``, batch 256, whole and in four parts.

    python benchmarks/bench_gpu.py           # two minutes; writes benchmarks/results/gpu.json
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bench_sampling import N_SOFT_TOKENS, EndlessLM
from contenders import plain_generation, with_peft
from record import RESULTS, merge
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

from distributed.config import BUNDLED_LM
from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids
from softprompt.pretrain.config import preset
from softprompt.pretrain.trainer import Pretrainer
from softprompt.prompts.init import initial_prompts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from softprompt.sampling.decoders.llama import LlamaDecoder
from softprompt.sampling.decoders.llama_cuda_graph import LlamaGraphDecoder
from terrains.sodarace.instruction import INSTRUCTION
from terrains.sodarace.programs.styles import STYLES

TERRAINS, TOKENS, LEARNT, PEFT_TERRAINS = 64, 128, 256, 4
SAMPLES = (4, 16)


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median seconds of a piece of work on the GPU."""
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times)


def base_model() -> FrozenLM:
    """A random model of the preset ``base``, with the bundled model's tokenizer."""
    bundled, config = FrozenLM.load(BUNDLED_LM), preset("base")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=bundled.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=512,
            pad_token_id=bundled.pad_id,
            eos_token_id=bundled.eos_id,
        )
    )
    return FrozenLM(model, bundled.tokenizer)


def sampling(lm: FrozenLM, samples: int, rounds: int, peft: bool) -> dict[str, float]:
    """Tokens a second of all ways of sampling."""
    instruction = instruction_ids(lm, INSTRUCTION)
    prompts = initial_prompts(lm.embedding, TERRAINS, N_SOFT_TOKENS, torch.Generator().manual_seed(0)).to(lm.device)
    requests = [SampleRequest(k, instruction, samples, k) for k in range(TERRAINS)]
    tokens = TERRAINS * samples * TOKENS
    drawing = GenerationConfig(max_new_tokens=TOKENS)

    def speed(sampler: Sampler) -> float:
        return tokens / seconds(lambda: sampler.sample(prompts, requests), rounds)

    graphs, single = Sampler(EndlessLM(lm), drawing), Sampler(EndlessLM(lm), drawing)
    graphs._decoder, single._decoder = LlamaGraphDecoder(lm.model), LlamaDecoder(lm.model)
    first = tokens / seconds(lambda: graphs.sample(prompts, requests), 1)
    graphs.sample(prompts, requests)
    single.sample(prompts, requests)
    found = {"graphs": speed(graphs), "first_call": first, "kernels_one_by_one": speed(single)}
    found["times_one_by_one"] = found["graphs"] / found["kernels_one_by_one"]
    if peft:
        found["peft"] = with_adapters(lm, prompts.cpu(), instruction, samples, rounds)
        found["times_peft"] = max(found["graphs"], found["kernels_one_by_one"]) / found["peft"]
    return {name: round(value, 2 if name.startswith("times") else None) for name, value in found.items()}


def with_adapters(
    lm: FrozenLM, prompts: torch.Tensor, instruction: tuple[int, ...], samples: int, rounds: int
) -> float:
    """Tokens a second of transformers' generate with PEFT, one terrain a batch."""
    model = with_peft(lm, prompts[:PEFT_TERRAINS]).to(lm.device)
    ids = torch.tensor([instruction] * samples, device=lm.device)
    config = plain_generation(lm, TOKENS, use_cache=True)

    def generate() -> None:
        for terrain in range(PEFT_TERRAINS):
            model.set_adapter(str(terrain))
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)

    with torch.inference_mode():
        generate()
        return PEFT_TERRAINS * samples * TOKENS / seconds(generate, rounds)


def learning(lm: FrozenLM, rounds: int) -> dict[str, float]:
    """Tokens a second of log-probabilities and their gradient, and peak memory."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, lm.vocab_size, (LEARNT, 64), generator=generator)
    mask = torch.arange(64) < torch.randint(16, 65, (LEARNT, 1), generator=generator)
    owners = torch.arange(LEARNT) % TERRAINS
    instruction = [instruction_ids(lm, INSTRUCTION)] * LEARNT
    prompts = initial_prompts(lm.embedding, TERRAINS, N_SOFT_TOKENS, generator).to(lm.device).requires_grad_()
    where = [t.to(lm.device) for t in (ids, mask, owners)]

    def learn() -> None:
        evaluate(lm, prompts, instruction, where[0], where[1], prompt_of=where[2])[0].sum().backward()

    learn()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = {"tokens_per_second": int(mask.sum()) / seconds(learn, rounds)}
    found["megabytes"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    return {name: round(value) for name, value in found.items()}


def pretraining(programs: list[str], steps: int) -> dict[str, dict[str, float]]:
    """Tokens a second and peak memory of steps of the preset ``base``, in both types, whole and in four parts."""
    found = {}
    for name, settings in {
        "float32": {"bfloat16": False, "accumulate": 1},
        "bfloat16": {"accumulate": 1},
        "bfloat16_in_4_parts": {},
    }.items():
        stage = Pretrainer(programs, INSTRUCTION, preset("base", steps=2 * steps, **settings))
        steps_of = stage.train()
        for _ in range(steps):
            next(steps_of)
        torch.cuda.reset_peak_memory_stats()

        def go_on(steps_of: Any = steps_of) -> list[dict[str, float]]:
            return [next(steps_of) for _ in range(steps)]

        spent = seconds(go_on, 1)
        tokens = steps * stage.config.batch_size * stage._mean_tokens
        megabytes = torch.cuda.max_memory_allocated() / 2**20
        found[name] = {
            "tokens_per_second": round(tokens / spent),
            "steps_per_second": round(steps / spent, 2),
            "megabytes": round(megabytes),
        }
        del stage, steps_of, go_on
        torch.cuda.empty_cache()
    return found


def measure(rounds: int, console: Console) -> Iterator[dict[str, Any]]:
    """Yields the figures part by part."""
    yield {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    for name, make in (("tiny", lambda: FrozenLM.load(BUNDLED_LM)), ("base", base_model)):
        for dtype in ("float32", "bfloat16"):
            console.print(f"{name}, {dtype}")
            lm = make()
            lm = FrozenLM(lm.model.to("cuda", getattr(torch, dtype)), lm.tokenizer)
            one: dict[str, Any] = {"learning": learning(lm, rounds)}
            for samples in SAMPLES:
                few = name == "tiny" and dtype == "float32"
                one[f"sampling_{samples}_a_terrain"] = sampling(lm, samples, rounds, peft=few)
            yield {f"{name}_{dtype}": one}
    console.print("pretraining")
    rng = random.Random(0)
    styles = list(STYLES.values())
    yield {"pretraining_base": pretraining([rng.choice(styles)(rng) for _ in range(4000)], steps=10)}


def show(found: dict[str, Any]) -> list[Table]:
    table = Table(title=f"Tokens a second on {found['gpu']}, {TERRAINS} terrains")
    ways = ("graphs", "first_call", "kernels_one_by_one", "peft")
    for heading in ("model", "programs", *(way.replace("_", " ") for way in ways), "learning", "MB"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, one in found.items():
        if not isinstance(one, dict) or "learning" not in one:
            continue
        for samples in SAMPLES:
            speeds = one[f"sampling_{samples}_a_terrain"]
            told = (f"{speeds[way]:,}" if way in speeds else "-" for way in ways)
            learnt = (f"{one['learning'][key]:,}" for key in ("tokens_per_second", "megabytes"))
            table.add_row(name.replace("_", ", "), f"{samples}", *told, *learnt)
    steps = Table(title="Pretraining the preset base, batch 256")
    for heading in ("", "tokens a second", "steps a second", "MB"):
        steps.add_column(heading, justify="right" if heading else "left")
    for name, one in found["pretraining_base"].items():
        steps.add_row(name.replace("_", " "), *(f"{value:,}" for value in one.values()))
    return [table, steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    a = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU that torch can use: nothing to measure")
        return
    found: dict[str, Any] = {}
    for part in measure(a.rounds, Console(stderr=True)):
        found |= part
        merge(a.out, part)
    for table in show(found):
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
