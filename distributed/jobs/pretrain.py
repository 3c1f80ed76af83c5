"""``terraprompt pretrain``: Stage 2, with a progress bar, then the figures of the model's card."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint, save_checkpoint
from distributed.errors import UserError
from distributed.infra.locking import locked
from distributed.infra.signals import exit_status, interruptible, say_last
from distributed.infra.writing import WriteError, told, write_text
from distributed.jobs.measure_model import is_walker, measure_model, sample_programs
from softprompt.finite import NotFiniteError
from softprompt.models.frozen import FrozenLM
from softprompt.pretrain.config import PretrainConfig, preset
from softprompt.pretrain.trainer import Pretrainer
from terrains.base import Attempt, World

CHECK_EVERY = 500
"""Steps between two looks at the held-out loss and at some programs."""

LOOKED_AT = 128
"""Programs of a look."""

TUNED_FOR = (0, 50, 150)
"""Steps of a prompt after which a look says what a held-out program costs behind it."""

AGAIN = "the same command goes on from there"

TRAINING = "training"
"""Where in the model's directory an unfinished training keeps its checkpoints."""


def pretrain(
    programs: list[str], corpus_card: dict, world: World, terrains: list[str], config: PretrainConfig, out: Path,
    console: Console, start: Path | None = None, fresh: bool = False, hints: Sequence[str | None] | None = None,
) -> int:  # fmt: skip
    """Trains a language model, writes it to a directory, measures it and writes its card.

    A training that was interrupted goes on where it was, bit for bit.

    Args:
        programs: the corpus.
        corpus_card: what is known of the corpus, for the card.
        world: scores the model's programs.
        terrains: terrains that its fitness is measured on.
        config: settings of Stage 2.
        out: directory of the model.
        console: where progress goes.
        start: directory of a model of an earlier call to go on from; its card goes into the new one.
        fresh: forget an interrupted training, do not go on with it.
        hints: a text for each program, or None, for prefixes that are made of hints.

    Returns:
        The process's exit status: 0, or that of a signal that interrupted the training.

    Raises:
        UserError: an interrupted training in the directory had other settings, or cannot be read; another process
            trains there; or the files cannot be written.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    with told(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        training = Training(programs, world, terrains[0], config, out, start, fresh, hints)
        if training.stage.step:
            console.print(f"going on after step {training.stage.step} of {config.steps}")
        with interruptible(raising=False) as received:
            try:
                training.run(console, received)
            except (CheckpointError, WriteError) as error:
                raise UserError(f"{error}; {AGAIN}") from error
            if received:
                say_last(f"interrupted after step {training.stage.step}; {AGAIN}")
                return exit_status(received[0])
        _write_card(training, programs, corpus_card, world, terrains, config, out, console, start)
    return 0


def _write_card(
    training: Training, programs: list[str], corpus_card: dict, world: World, terrains: list[str],
    config: PretrainConfig, out: Path, console: Console, start: Path | None,
) -> None:  # fmt: skip
    """Measures a model that is trained, writes its card and forgets its checkpoints."""
    lm = FrozenLM.load(out)
    card = {
        "parameters": sum(p.numel() for p in lm.model.parameters()),
        "hash": lm.hash,
        "seconds": round(training.seconds),
        "programs": len(programs),
        "left_out": training.stage.left_out,
        "held_out_nats_per_program": training.looks,
        "figures": measure_model(lm, world, terrains, on_part=lambda part: console.print(f"measuring {part}")),
        "pretrain": config.model_dump(mode="json"),
        "start": json.loads((start / "card.json").read_text()) if start else None,
        "corpus": corpus_card,
    }
    write_text(out / "card.json", json.dumps(card, indent=2) + "\n")
    write_text(out / "README.md", card_text(card))
    shutil.rmtree(out / TRAINING)


class Training:
    """Stage 2 with checkpoints, and looks at what it has come to.

    Attributes:
        stage: the training itself.
        looks: by step, what a held-out program costs, and how many of some programs are valid and unique.
        seconds: time that it took, all parts of it together.
    """

    def __init__(
        self, programs: list[str], world: World, terrain: str, config: PretrainConfig, out: Path, start: Path | None,
        fresh: bool = False, hints: Sequence[str | None] | None = None,
    ) -> None:  # fmt: skip
        self._world, self._terrain, self._out = world, world.terrain(terrain), out
        self.stage = Pretrainer(programs, self._terrain.instruction, config, start, hints)
        self.looks: dict[str, dict[str, float]] = {}
        self.seconds = 0.0
        told = _digest([hint or "" for hint in hints]) if hints else ""
        settings = config.model_dump(mode="json")
        self._of = {"settings": settings, "programs": _digest(programs), "start": str(start or ""), "hints": told}
        found = None if fresh else latest(out / TRAINING)
        if found:
            self._go_on(found)

    def run(self, console: Console, received: list[int]) -> None:
        """Makes all steps; ends early, and keeps what was made, when a signal is received.

        The model is written at every look, so that an interrupted training leaves the last one.

        Raises:
            UserError: the loss is no number any more.
        """
        try:
            self._run(console, received)
        except NotFiniteError as error:
            raise UserError(f"{error}; lower --lr. What was written at the last look stays in {self._out}") from error

    def _run(self, console: Console, received: list[int]) -> None:
        before, began, last = self.seconds, time.monotonic(), self.stage.config.steps
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            task = progress.add_task("loss", total=last, completed=self.stage.step)
            for metrics in self.stage.train():
                step = self.stage.step
                progress.update(task, completed=step, description=f"loss {metrics['loss']:.3f} nats a token")
                look = step % CHECK_EVERY == 0 or step == last
                if look:
                    self.looks[str(step)] = self._look()
                    with told(self._out):
                        self.stage.save(self._out)
                    console.print(f"step {step}: {_told(self.looks[str(step)])}", highlight=False)
                if look or received:
                    self.seconds = before + time.monotonic() - began
                    self._save()
                if received:
                    return

    def _save(self) -> None:
        state = {"of": self._of, "looks": self.looks, "seconds": self.seconds, "stage": self.stage.state_dict()}
        save_checkpoint(self._out / TRAINING, self.stage.step, state, keep=1)

    def _go_on(self, found: Path) -> None:
        try:
            state = load_checkpoint(found).state
        except CheckpointError as error:
            raise UserError(f"{error}; --fresh begins anew") from None
        of = {"hints": ""} | state["of"] | {"settings": _complete(state["of"]["settings"])}
        other = [name for name, value in self._of.items() if of[name] != value]
        if other:
            was = "had other settings" if other == ["settings"] else f"had other {' and '.join(other)}"
            raise UserError(f"--out: an interrupted training in {self._out} {was}; go on with those, or --fresh")
        self.stage.load_state_dict(state["stage"])
        self.looks, self.seconds = state["looks"], state["seconds"]

    def _look(self) -> dict[str, float]:
        """What held-out programs cost, by what stands before them, and what the model writes without a prompt."""
        stage = self.stage
        stage.model.eval()
        lm = FrozenLM(copy.deepcopy(stage.model), stage.tokenizer, stage.token_counts.numpy())
        texts, _ = sample_programs(lm, self._terrain.instruction, LOOKED_AT, seed=0)
        scores = self._world.score([Attempt(self._terrain.name, text) for text in texts])
        steered = stage.held_out_steered(TUNED_FOR)
        names = ("behind_an_untrained_prompt", "after_50_steps_of_the_prompt", "after_150")
        nats = {"alone": stage.held_out_loss(), **dict(zip(names, steered, strict=True))}
        stage.model.train()
        shares = {"valid": sum(map(is_walker, scores)) / len(texts), "unique": len(set(texts)) / len(texts)}
        return {name: round(value, 3 if name in shares else 2) for name, value in (nats | shares).items()}


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _complete(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings with the defaults of those that were not there yet when they were written."""
    try:
        return PretrainConfig(**settings).model_dump(mode="json")
    except ValidationError:
        return settings


def _told(look: dict[str, float]) -> str:
    nats = [f"{value:.1f} {name.replace('_', ' ')}" for name, value in look.items() if name not in ("valid", "unique")]
    shares = f"{look['valid']:.0%} of {LOOKED_AT} valid, {look['unique']:.0%} unique"
    return f"nats of a held-out program: {', '.join(nats)}; {shares}"


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

Valid walkers behind an untrained soft prompt, by its number of rows and how they are initialised:

| rows | {" | ".join(sizes)} |
|---|{"---|" * len(sizes)}
{prompts}
"""


def _commands(card: dict) -> list[str]:
    """The commands that trained a model, in their order, with the settings that are not the preset's."""
    before = _commands(card["start"]) if card["start"] else []
    settings, name = card["pretrain"], card["pretrain"].get("preset", "tiny")
    usual = preset(name).model_dump(mode="json")
    chosen = {} if name == "tiny" else {"preset": name}
    names = ("steps", "lr", "batch_size", "accumulate", "seed")
    # A card from before a setting was there was made with its default.
    differing = {name: settings[name] for name in names if settings.get(name, usual[name]) != usual[name]}
    given = chosen | {name.replace("_", "-"): value for name, value in differing.items()}
    prefixes, usual = settings["prefixes"], usual["prefixes"]
    given |= {name: prefixes[name] for name in ("visits", "none") if prefixes[name] != usual[name]}
    start = {"start": _directory(len(before) - 1)} if before else {}
    given |= {"hints": card["corpus"]["hints"], "hinted": prefixes["hinted"]} if "hints" in card["corpus"] else {}
    above = {"above": card["corpus"]["trained_on_above"]} if "trained_on_above" in card["corpus"] else {}
    options = "".join(f" --{name} {value}" for name, value in (start | above | given).items())
    return [*before, f"terraprompt pretrain --corpus data/corpus.jsonl --out {_directory(len(before))}{options}"]


def _directory(number: int) -> str:
    return f"data/lm{number + 1}" if number else "data/lm"
