"""``terraprompt pretrain``: Stage 2, with a progress bar, then the figures of the model's card."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from distributed.model_card import measure_model
from softprompt.model import FrozenLM
from softprompt.pretrain import PretrainConfig, Stage2
from terrains.base import World

CHECK_EVERY = 500
"""Steps between two looks at the held-out loss."""


def pretrain(
    programs: list[str], corpus_card: dict, world: World, terrains: list[str], config: PretrainConfig, out: Path,
    console: Console, start: Path | None = None,
) -> dict:  # fmt: skip
    """Trains a language model, writes it to a directory, measures it and writes its card.

    Args:
        programs: the corpus.
        corpus_card: what is known of the corpus, for the card.
        world: scores the model's programs.
        terrains: terrains that its fitness is measured on.
        config: settings of Stage 2.
        out: directory of the model.
        console: where progress goes.
        start: directory of a model of an earlier call to go on from; its card goes into the new one.

    Returns:
        The card's figures.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    started = time.monotonic()
    stage = Stage2(programs, world.terrain(terrains[0]).instruction, config, start)
    held_out = _train(stage, out, console)
    seconds = time.monotonic() - started
    lm = FrozenLM.load(out)
    figures = measure_model(lm, world, terrains, on_part=lambda part: console.print(f"measuring {part}"))
    card = {
        "parameters": sum(p.numel() for p in lm.model.parameters()),
        "hash": lm.hash,
        "seconds": round(seconds),
        "programs": len(programs),
        "left_out": stage.left_out,
        "held_out_nats_per_program": held_out,
        "figures": figures,
        "pretrain": config.model_dump(mode="json"),
        "start": json.loads((start / "card.json").read_text()) if start else None,
        "corpus": corpus_card,
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    (out / "README.md").write_text(card_text(card))
    return card


def _train(stage: Stage2, out: Path, console: Console) -> dict[str, dict[str, float]]:
    """Runs all steps; returns what held-out programs cost, by step and by what stands before them.

    The model is written at every look, so that an interrupted training leaves the last one.
    """
    held_out: dict[str, dict[str, float]] = {}
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("loss", total=stage.config.steps)
        for metrics in stage.train():
            step = int(metrics["step"])
            progress.update(task, completed=step, description=f"loss {metrics['loss']:.3f} nats a token")
            if step % CHECK_EVERY == 0 or step == stage.config.steps:
                held_out[str(step)] = nats = _held_out(stage)
                stage.save(out)
                told = ", ".join(f"{value:.1f} {name.replace('_', ' ')}" for name, value in nats.items())
                console.print(f"step {step}: nats of a held-out program: {told}", highlight=False)
    return held_out


def _held_out(stage: Stage2) -> dict[str, float]:
    stage.model.eval()
    steered = stage.held_out_steered((0, 50, 150))
    names = ("behind_an_untrained_prompt", "after_50_steps_of_the_prompt", "after_150")
    nats = {"alone": stage.held_out_loss(), **dict(zip(names, steered, strict=True))}
    stage.model.train()
    return {name: round(value, 2) for name, value in nats.items()}


def card_text(card: dict) -> str:
    """The model's card as Markdown; every figure of it is in ``card.json`` too."""
    figures, tuned = card["figures"], card["figures"]["tuned_on_one_program"]
    last = list(card["held_out_nats_per_program"].values())[-1]
    rows = "\n".join(
        f"| {name} | {f['mean']} | {f[best]} |"
        for name, f in figures["fitness"].items()
        for best in [next(k for k in f if k.startswith("best_of"))]
    )
    behind = figures["behind_untrained_prompts"]
    sizes = list(next(iter(behind.values())))
    prompts = "\n".join(
        f"| {birth} | " + " | ".join(f"{v:.0%}" for v in shares.values()) + " |" for birth, shares in behind.items()
    )
    first = card["corpus"].get("command", "terraprompt corpus --out data/corpus.jsonl")
    commands = "\n".join(f"    {command}" for command in [first, *_commands(card)])
    return f"""# A language model that writes Sodaracers

{card["parameters"]:,} parameters (Llama), its own tokenizer, safetensors. It was trained on
{card["programs"]:,} programs by nothing but these commands:

{commands}

`card.json` holds their settings and seeds. A program begins with the line `import math`, which is the instruction.

- Of {figures["samples"]} samples {figures["valid"]:.1%} are valid walkers, {figures["moving"]:.1%} move,
  {figures["unique"]:.1%} are unique;
  the median program has {figures["median_tokens"]} tokens.
- One program of its own costs {tuned["0"]} nats behind an untrained prompt of 20 rows; {tuned["50"]}, {tuned["100"]}
  and {tuned["150"]} after 50, 100 and 150 steps of Adam on the prompt.
- A held-out program of the corpus costs {last["alone"]} nats without a prompt, and {last["after_150"]} after 150 steps.

| terrain | mean fitness | best of 1,024 |
|---|---|---|
{rows}

Valid walkers behind an untrained soft prompt, by its number of rows and how they are born:

| rows | {" | ".join(sizes)} |
|---|{"---|" * len(sizes)}
{prompts}
"""


def _commands(card: dict) -> list[str]:
    """The commands that trained a model, in their order, with the settings that are not the preset's."""
    before = _commands(card["start"]) if card["start"] else []
    settings, preset = card["pretrain"], PretrainConfig().model_dump(mode="json")
    given = {name: settings[name] for name in ("steps", "lr", "seed") if settings[name] != preset[name]}
    prefixes, usual = settings["prefixes"], preset["prefixes"]
    given |= {name: prefixes[name] for name in ("visits", "none") if prefixes[name] != usual[name]}
    start = {"start": _directory(len(before) - 1)} if before else {}
    above = {"above": card["corpus"]["trained_on_above"]} if "trained_on_above" in card["corpus"] else {}
    options = "".join(f" --{name} {value}" for name, value in (start | above | given).items())
    return [*before, f"terraprompt pretrain --corpus data/corpus.jsonl --out {_directory(len(before))}{options}"]


def _directory(number: int) -> str:
    return f"data/lm{number + 1}" if number else "data/lm"
