"""The options of ``terraprompt pretrain``: checked, and turned into what Stage 2 takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from distributed.errors import UserError, did_you_mean
from distributed.jobs.pretrain import pretrain
from softprompt.pretrain.config import PRESETS, PretrainConfig
from softprompt.pretrain.config import preset as settings_of_preset
from softprompt.pretrain.prefixes import PrefixConfig
from terrains.sodarace.map_elites.corpus import CorpusProgram, read_corpus
from terrains.sodarace.map_elites.corpus import above as filtered
from terrains.sodarace.map_elites.hints import HINTS, hints_of
from terrains.sodarace.world import SodaraceWorld, WorldConfig


@dataclass(frozen=True)
class PretrainOptions:
    """What was asked for on the command line.

    Attributes:
        corpus: JSON-lines file of programs.
        out: directory of the language model.
        preset: name of the settings to begin with.
        settings: values that replace the preset's, by name; None keeps the preset's.
        prefixes: the same for the settings of its prefixes.
        hints: kind of the hints put before some programs; None for none.
        hinted: share of steps behind hints; None for half of those that tune prefixes.
        start: directory of a model to go on from.
        above: share of its niche's best that a program has to reach.
        seed: decides every draw.
        fresh: forget an interrupted training.
    """

    corpus: Path
    out: Path
    preset: str
    settings: Mapping[str, float | None]
    prefixes: Mapping[str, float | None]
    hints: str | None
    hinted: float | None
    start: Path | None
    above: float
    seed: int
    fresh: bool


def pretrain_with(options: PretrainOptions) -> int:
    """Trains a language model as the options say.

    Returns:
        The exit status.

    Raises:
        UserError: an option is misspelt, a file is not there, or the corpus is not what is needed.
    """
    check_hints(options.hints, options.hinted)
    if options.preset not in PRESETS:
        raise UserError(f"--preset: there is no {options.preset}{did_you_mean(options.preset, PRESETS)}")
    programs = _read_programs(options)
    hints = build_hints(options.hints, programs, options.seed)
    config = _config(options)
    start, out = options.start, options.out
    if start is not None and not (start / "card.json").exists():
        raise UserError(f"--start: there is no model with a card in {str(start)!r}")
    world = SodaraceWorld(WorldConfig(threads=0))
    console = Console()
    try:
        texts, terrains = [p.program for p in programs], list(programs[0].fitness)
        card = _corpus_card(options)
        status = pretrain(texts, card, world, terrains, config, out, console, start, options.fresh, hints)
    except ValueError as error:
        raise UserError(str(error)) from None
    finally:
        world.close()
    if not status:
        console.print(f"the model and its card lie in {out}", highlight=False, soft_wrap=True)
    return status


def _read_programs(options: PretrainOptions) -> Sequence[CorpusProgram]:
    try:
        programs = filtered(read_corpus(options.corpus), options.above)
    except ValueError as error:
        raise UserError(f"--corpus: {error}") from None
    if not programs:
        raise UserError(f"--above: no program of {options.corpus} reaches {options.above} of its niche's best")
    return programs


def _corpus_card(options: PretrainOptions) -> dict:
    """The card of the corpus, and what the options made of the corpus."""
    file = options.corpus.with_suffix(".card.json")
    card: dict = json.loads(file.read_text()) if file.exists() else {}
    card |= {"trained_on_above": options.above} if options.above else {}
    card |= {"hints": options.hints} if options.hints else {}
    return card


def _config(options: PretrainOptions) -> PretrainConfig:
    given = {name: value for name, value in options.settings.items() if value}
    prefixes = {name: value for name, value in options.prefixes.items() if value is not None}
    try:
        if options.hints:
            prefixes["hinted"] = hinted_share(PrefixConfig.model_validate(prefixes), options.hinted)
        chosen = PrefixConfig.model_validate(prefixes)
        return settings_of_preset(options.preset, seed=options.seed, prefixes=chosen, **given)
    except ValidationError as error:
        raise UserError(f"{error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def check_hints(hints: str | None, hinted: float | None) -> None:
    """Checks ``--hints`` and ``--hinted``, before any file is read.

    Raises:
        UserError: there are no such hints, or a share of hints without hints.
    """
    if hints is not None and hints not in HINTS:
        options = ", ".join(HINTS)
        raise UserError(f"--hints: there is no {hints}{did_you_mean(hints, HINTS) or f'; there are {options}'}")
    if hinted is not None and hints is None:
        raise UserError(f"--hinted: say by --hints which hints: {', '.join(HINTS)}")


def build_hints(hints: str | None, programs: Sequence[CorpusProgram], seed: int) -> list[str] | None:
    """Returns a hint for each program, all of them from these programs; None without ``--hints``.

    Raises:
        UserError: the corpus lacks what the hints are made of.
    """
    if hints is None:
        return None
    try:
        return hints_of(hints, programs, seed)
    except ValueError as error:
        raise UserError(f"--hints {hints}: {error}; `terraprompt corpus` makes a corpus that has it") from None


def hinted_share(prefixes: PrefixConfig, hinted: float | None) -> float:
    """Share of steps behind hints: what was asked for, or half of those that would tune prefixes."""
    return round((1 - prefixes.none - prefixes.untrained) / 2, 4) if hinted is None else hinted
