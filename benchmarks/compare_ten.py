"""What a terrain embedding network is worth on terrains it never saw, against what a researcher would do without one.

All are trained on the same 32 terrains of mixed families, with equally many programs, and write for 32 terrains of the
other split. A prompt for a terrain that none was trained on comes from

- ten: the network, from the terrain's features;
- nearest: the table's prompt of the trained terrain whose features are most like the new one's;
- shared: one prompt for all terrains (the network, held at zero);
- none: the bare language model.

    python benchmarks/compare_ten.py              # three runs of some minutes; writes results/ten.json
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import RESULTS, interval, merge
from rich.console import Console
from rich.progress import track
from rich.table import Table

from distributed.run_folder import FinishedRun, open_run
from distributed.worker import instruction_ids
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.base import Attempt, Terrain
from terrains.sodarace.sampler import DRAWN_FAMILIES, sample_terrains
from terrains.sodarace.world import SodaraceWorld, WorldConfig

ROOT = Path(__file__).resolve().parents[1]
TEN = ["method.prompt_source=ten"]
RUNS = {"ten": TEN, "shared": [*TEN, "method.network_lr=1e-12"], "nearest": []}


def train(name: str, seed: int, count: int, folder: Path, overrides: list[str]) -> FinishedRun:
    """Makes a run unless it is there; one that was interrupted goes on."""
    directory = folder / f"{name}-{seed}"
    if not (directory / "summary.json").exists():
        sample = f"{{count: {count}, difficulty: [0.0, 0.5], split: train, seed: {seed}}}"
        settings = [
            f"terrains.sample={sample}",
            "terrains.names=[]",
            f"method.num_rollouts={4 * count}",
            f"train.batch_size={2 * count}",
            "warm_start.samples=128",
            "evaluation.samples_per_terrain=16",
            f"train.seed={seed}",
            f"train.checkpoint_dir={folder}",
            f"train.run_name={directory.name}",
            "train.tracker=null",
        ]
        again = ["--resume", str(directory)] if (directory / "config.json").exists() else []
        command = [sys.executable, "-m", "distributed.train", "--config", str(ROOT / "configs" / "quickstart.yml")]
        subprocess.run([*command, *again, *settings, *RUNS[name], *overrides], cwd=ROOT, check=True)
    return open_run(directory)


def prompts_for(run: FinishedRun, name: str, terrains: list[Terrain], world: SodaraceWorld) -> torch.Tensor:
    """A prompt for each terrain, shape (n, n_soft_tokens, d)."""
    if name == "nearest":
        trained = [world.terrain(each) for each in run.prompts]
        features = np.stack([each.features for each in trained])
        own = [trained[int(np.linalg.norm(features - t.features, axis=1).argmin())].name for t in terrains]
        return torch.from_numpy(np.stack([run.prompts[each] for each in own]))
    return torch.from_numpy(np.stack([run.prompt_for(each, world.terrain) for each in terrains]))


def mean_fitness(
    run: FinishedRun, prompts: torch.Tensor | None, terrains: list[Terrain], samples: int, world: SodaraceWorld
) -> list[float]:
    """Mean fitness of some programs on each terrain; failures count as 0."""
    lm = run.load_policy() if prompts is not None else run.load_base()
    instruction = instruction_ids(lm, terrains[0].instruction)
    sampler = Sampler(lm, GenerationConfig())
    means = []
    for k, terrain in enumerate(track(terrains, description="writing and scoring", transient=True)):
        rows = None if prompts is None else prompts[k : k + 1]
        drawn = sampler.sample(rows, [SampleRequest(0, instruction, samples, 1000 + k)])
        texts = lm.tokenizer.batch_decode(
            [[*instruction, *ids[mask].tolist()] for ids, mask in zip(drawn.ids, drawn.mask, strict=True)],
            skip_special_tokens=True,
        )
        means.append(float(np.mean([s.fitness for s in world.score([Attempt(terrain.name, t) for t in texts])])))
    return means


def against(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Mean difference over terrains, and its bootstrap 95% interval."""
    difference = (ours - theirs).tolist()
    return [float(np.mean(difference)), *interval(difference)]


def show(found: dict[str, Any]) -> Table:
    table = Table(title=f"Mean fitness on {found['terrains']} terrains that none was trained on")
    for heading in ("prompt", "mean", "ten is better by (95% over terrains)"):
        table.add_column(heading, justify="left" if heading == "prompt" else "right")
    for name, values in found["by_terrain"].items():
        gain = "" if name == "ten" else "{:.1f} ({:.1f} to {:.1f})".format(*found["ten_against"][name])
        table.add_row(name, f"{np.mean(list(values.values())):.1f}", gain)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terrains", type=int, default=32, help="in each of both splits")
    parser.add_argument("--samples", type=int, default=32, help="programs a terrain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "ten", help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "ten.json")
    parser.add_argument("overrides", nargs="*", help="settings of all runs, such as train.total_steps=16")
    a = parser.parse_args()
    world = SodaraceWorld(WorldConfig(seconds=20, threads=0))
    names = sample_terrains(DRAWN_FAMILIES, a.terrains, (0.0, 0.5), "held_out", a.seed)
    terrains = [world.terrain(name) for name in names]
    means: dict[str, list[float]] = {}
    for name in RUNS:
        run = train(name, a.seed, a.terrains, a.runs.resolve(), a.overrides)
        if not means:
            means["none"] = mean_fitness(run, None, terrains, a.samples, world)
        means[name] = mean_fitness(run, prompts_for(run, name, terrains, world), terrains, a.samples, world)
    ten = np.array(means["ten"])
    found = {
        "terrains": a.terrains,
        "samples": a.samples,
        "seed": a.seed,
        "mean": {name: float(np.mean(values)) for name, values in means.items()},
        "ten_against": {name: against(ten, np.array(values)) for name, values in means.items() if name != "ten"},
        "by_terrain": {name: dict(zip(names, values, strict=True)) for name, values in means.items()},
    }
    merge(a.out, found)
    Console(width=100).print(show(found))
    world.close()


if __name__ == "__main__":
    main()
