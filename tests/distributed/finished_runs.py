"""Folders as runs leave them, around a tiny random language model, and what is done with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from distributed.cli import main
from distributed.config import RunConfig
from distributed.export.registry import model_uri
from distributed.jobs.export import export_run
from distributed.results.run_folder import CONFIG, PROMPTS, SUMMARY
from distributed.results.summary import Summary, TerrainSummary, write_summary
from softprompt.models.frozen import FrozenLM

BUMPY = "bumpy(amplitude=4,seed=3)"
FITNESS = {"tunnel": 50.0, BUMPY: 20.0}
NEW_TOKENS = 12
INSTRUCTION = "import math\n"


def save_base(lm: FrozenLM, folder: Path) -> Path:
    """Writes a language model as `FrozenLM.load` reads it."""
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


def make_run(
    folder: Path,
    base: Path,
    lm: FrozenLM,
    fitness: Mapping[str, float] = FITNESS,
    seed: int = 0,
    n_soft_tokens: int = 4,
    seconds: float = 20.0,
) -> Path:
    """Writes the folder of a finished run, whose prompts are random."""
    folder.mkdir(parents=True)
    config = RunConfig.model_validate(
        {
            "terrains": {"names": list(fitness), "seconds": seconds},
            "model": {"model_path": str(base)},
            "method": {
                "n_soft_tokens": n_soft_tokens,
                "num_rollouts": 2 * len(fitness),
                "gen_kwargs": {"max_new_tokens": NEW_TOKENS},
            },
        }
    )
    (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json", by_alias=True)))
    rows = {
        name: TerrainSummary(
            untuned_mean=1.0,
            untuned_valid=0.5,
            best_of_n=9.0,
            n=8,
            tuned_mean=mean,
            tuned_valid=0.9,
            tuned_interval=(mean - 2, mean + 2),
            tuned_unique=1.0,
        )
        for name, mean in fitness.items()
    }
    summary = Summary(seed=seed, rollouts=8, seconds=1.0, terrains=rows, transfer={}, lm_hash=lm.hash)
    write_summary(folder / SUMMARY, summary)
    generator = np.random.default_rng(seed)
    scale = float(lm.embedding.std())
    shape = (n_soft_tokens, lm.d_model)
    prompts = {name: generator.normal(0, scale, shape).astype(np.float32) for name in fitness}
    save_file(prompts, folder / PROMPTS)
    return folder


def export(run: Path, *terrains: str, best_only: bool = False, dry_run: bool = False) -> dict[str, str | None]:
    """Exports a run and returns the versions by terrain."""
    done = export_run(run, terrains, best_only, dry_run, Console(quiet=True))
    return {each.terrain: each.version for each in done}


def programs(terrain: str, n: int = 3, **params: object) -> list[str]:
    """Programs that a terrain's champion writes."""
    model = mlflow.pyfunc.load_model(model_uri(terrain))
    return list(model.predict(pd.DataFrame({"instruction": [INSTRUCTION] * n}), params=params)["program"])


def main_exit(*arguments: str) -> int:
    """Runs a command in this process and returns what it exits with."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return int(exit_.value.code or 0)
