"""How fast programs become Scores: text, sandbox, check, simulation, on one thread and on every processor.

The programs are drawn from the bundled language model without a prompt, and shared out among ELM's four terrains.
Times are wall-clock, so that nothing else should run meanwhile; the two numbers of threads take turns.

    python benchmarks/bench_scoring.py            # a minute or two; adds "scoring" to benchmarks/results/simulator.json
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median

import torch
from record import RESULTS, merge
from rich.console import Console
from rich.progress import track
from rich.table import Table

from distributed.config import BUNDLED_LM
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids, program_texts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.base import Attempt
from terrains.sodarace.instruction import INSTRUCTION
from terrains.sodarace.world import SodaraceWorld, WorldConfig

TERRAINS = ("left_wall", "right_wall", "bumpy", "tunnel")
SECONDS = 10.0
BATCH = 64


def sampled_programs(count: int, console: Console) -> list[str]:
    """Programs of the bundled language model, the same ones every time."""
    torch.set_num_threads(os.cpu_count() or 1)
    lm = FrozenLM.load(BUNDLED_LM)
    sampler, start = Sampler(lm, GenerationConfig()), instruction_ids(lm, INSTRUCTION)
    programs: list[str] = []
    for seed in track(range(-(-count // BATCH)), description="sampling programs", console=console):
        samples = sampler.sample(None, [SampleRequest(0, start, BATCH, seed)])
        rows = [ids[kept].tolist() for ids, kept in zip(samples.ids, samples.mask, strict=True)]
        programs += program_texts(lm.tokenizer, [INSTRUCTION] * len(rows), [start] * len(rows), rows)
    return programs[:count]


def timed(attempts: list[Attempt], threads: int) -> dict[str, float]:
    """One scoring of all attempts by a world that has compiled and started, and the same once more, remembered."""
    with SodaraceWorld(WorldConfig(seconds=SECONDS, threads=threads, cache=len(attempts))) as world:
        world.score([Attempt(name, f"{attempts[0].program}# warm-up {k}\n") for k, name in enumerate(TERRAINS)])
        before = world.counters()
        began = time.perf_counter()
        scores = world.score(attempts)
        seconds = time.perf_counter() - began
        counts = {name: value - before[name] for name, value in world.counters().items()}
        began = time.perf_counter()
        assert world.score(attempts) == scores
        again = time.perf_counter() - began
    return {
        "walkers_per_second": len(attempts) / seconds,
        "share_sandbox": counts["sandbox_seconds"] / (seconds * threads),
        "share_simulation": counts["simulation_seconds"] / (seconds * threads),
        "programs_run": counts["programs"],
        "simulated": counts["simulated"],
        "valid": sum(score.valid for score in scores) / len(scores),
        "remembered_walkers_per_second": len(attempts) / again,
    }


def measure(count: int, rounds: int, console: Console) -> dict[str, object]:
    """The medians over rounds."""
    programs = sampled_programs(count, console)
    attempts = [Attempt(TERRAINS[k % len(TERRAINS)], program) for k, program in enumerate(programs)]
    cores = os.cpu_count() or 1
    turns = [(timed(attempts, 1), timed(attempts, cores)) for _ in range(rounds)]
    one, every = (
        {name: median(turn[k][name] for turn in turns) for name in turns[0][k]}  # both numbers of threads
        for k in range(2)
    )
    return {
        "walkers_per_second_per_core": round(every["walkers_per_second"] / cores, 1),
        "walkers_per_second": round(every["walkers_per_second"], 1),
        "walkers_per_second_one_thread": round(one["walkers_per_second"], 1),
        "times_one_thread": round(every["walkers_per_second"] / one["walkers_per_second"], 2),
        "share_sandbox": round(one["share_sandbox"], 3),
        "share_simulation": round(one["share_simulation"], 3),
        "remembered_walkers_per_second": round(every["remembered_walkers_per_second"]),
        "valid": round(one["valid"], 3),
        "programs": count,
        "programs_run": int(one["programs_run"]),
        "simulated": int(one["simulated"]),
        "terrains": list(TERRAINS),
        "seconds_simulated": SECONDS,
        "cores": cores,
        "rounds": rounds,
    }


def show(found: dict[str, object]) -> Table:
    table = Table(
        title=f"{found['programs']} programs of the bundled LM, {SECONDS:g} s simulated, {len(TERRAINS)} terrains mixed"
    )
    table.add_column("from text to Score")
    table.add_column("", justify="right")
    table.add_row("walkers per second per core", f"{found['walkers_per_second_per_core']}")
    table.add_row(f"walkers per second on {found['cores']} cores", f"{found['walkers_per_second']}")
    table.add_row("walkers per second on one thread", f"{found['walkers_per_second_one_thread']}")
    table.add_row("time in the sandbox", f"{found['share_sandbox']:.1%}")
    table.add_row("time in the simulation", f"{found['share_simulation']:.1%}")
    table.add_row("walkers per second, remembered", f"{found['remembered_walkers_per_second']}")
    table.caption = f"{found['programs_run']} programs differ, {found['valid']:.0%} of all are valid"
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1024, help="programs of one round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which one thread and all take turns")
    parser.add_argument("--out", type=Path, default=RESULTS / "simulator.json")
    arguments = parser.parse_args()
    found = measure(arguments.programs, arguments.rounds, Console(stderr=True))
    merge(arguments.out, {"scoring": found})
    Console().print(show(found))


if __name__ == "__main__":
    main()
