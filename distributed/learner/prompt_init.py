"""What the prompts of a run come from (a table or a network), and the rows they start with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.errors import UserError, did_you_mean
from distributed.learner.kinds import points_of
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import readable_ids
from softprompt.prompts.init import initial_prompts, match_norms, text_rows
from softprompt.prompts.peft_io import CONFIG_FILE, load_prompt
from softprompt.prompts.residual import ResidualPrompts
from softprompt.prompts.table import PromptSource, SoftPromptTable
from softprompt.prompts.ten import TenSettings, TerrainEmbeddingNetwork
from terrains.base import Terrain
from terrains.loading import expanded
from terrains.niches import Niches

SETTING = "method.initialize_from"
TEXT = "text:"


def make_source(
    config: RunConfig, lm: FrozenLM, n_prompts: int, terrains: Sequence[Terrain], niches: Niches | None = None
) -> PromptSource:
    """Builds the table or the network that prompts come from, on the language model's device.

    Args:
        config: settings of the run.
        lm: the language model.
        n_prompts: how many prompts there are.
        terrains: what they are for, for prompts from features or from another run; else it may be empty.
        niches: the world's grid, for a network that makes several prompts a terrain.

    Raises:
        UserError: the prompt to start from is not there or does not fit, or the terrains have no features.
    """
    method, seed = config.method, config.train.seed
    if method.prompt_source == "ten":
        first = _first_prompts(config, lm, 1, terrains)[0]
        features = _features(terrains)
        ten = TenSettings(
            body=config.ten.body,
            hidden=config.ten.hidden,
            layers=config.ten.layers,
            channels=terrains[0].profiles,
            terrain_id=config.ten.terrain_id,
        )
        points = None
        if method.prompts_per_terrain > 1:
            assert niches is not None, "VarietyRewards has refused several prompts without a grid"
            points = points_of([-1] * n_prompts, method.prompts_per_terrain, niches, seed)
        return TerrainEmbeddingNetwork(first, features, ten, seed, points).to(lm.device)
    first = _first_prompts(config, lm, n_prompts, terrains)
    if method.reparameterize == "residual":
        return ResidualPrompts(first, method.residual_width, seed).to(lm.device)
    return SoftPromptTable(first).to(lm.device)


def with_absolute_start(config: RunConfig) -> RunConfig:
    """Settings with an absolute path in ``initialize_from``: Tune's trials run in other directories."""
    said = config.method.initialize_from
    if said is None or said.startswith(TEXT):
        return config
    return with_settings(config, {SETTING: str(expanded(said).absolute())})


def new_rows(config: RunConfig, lm: FrozenLM, n_prompts: int, n: int, generator: Generator) -> Tensor:
    """Rows drawn as ``initialize_from_vocab`` says, shape (n_prompts, n, d)."""
    specials, method = lm.special_ids, config.method
    rows = initial_prompts(
        lm.embedding, n_prompts, n, generator, method.initialize_from_vocab, lm.token_counts, specials
    )
    return match_norms(rows, lm.embedding) if method.match_norms else rows


def _first_prompts(config: RunConfig, lm: FrozenLM, n_prompts: int, terrains: Sequence[Terrain]) -> Tensor:
    """The rows that prompts start with, shape (n_prompts, n_soft_tokens, d)."""
    method = config.method
    if method.initialize_from is None:
        generator = torch.Generator().manual_seed(config.train.seed)
        return new_rows(config, lm, n_prompts, method.n_soft_tokens, generator)
    names = [terrain.name for terrain in terrains] if method.prompt_source == "table" else None
    rows = _rows_from(method.initialize_from, lm, method.n_soft_tokens, names, method.prompts_per_terrain)
    if rows.shape[1:] != (method.n_soft_tokens, lm.d_model):
        n, d = rows.shape[1:]
        raise UserError(
            f"{SETTING}: the prompt in {method.initialize_from!r} has {n} rows of width {d}; "
            + (f"the language model's are {lm.d_model} wide" if d != lm.d_model else f"set method.n_soft_tokens to {n}")
        )
    rows = rows.to(lm.device).expand(n_prompts, -1, -1)
    return match_norms(rows, lm.embedding) if method.match_norms else rows


def _rows_from(said: str, lm: FrozenLM, n: int, names: Sequence[str] | None, several: int = 1) -> Tensor:
    """One prompt (1, n, d) for all, or several for each name, as ``initialize_from`` says."""
    path = expanded(said)
    if said.startswith(TEXT):
        return _text(said.removeprefix(TEXT), lm, n, "the text")
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{SETTING}: cannot read a text from {said!r}: {error}") from None
        return _text(text, lm, n, repr(said))
    if (path / CONFIG_FILE).is_file():
        try:
            return load_prompt(path).rows[None]
        except ValueError as error:
            raise UserError(f"{SETTING}: {error}") from None
    if path.is_dir():
        return _of_run(path, names, several)
    there = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, there) or f"; a text is written {TEXT}..."
    raise UserError(f"{SETTING}: there is no {said!r}{hint}")


def _text(text: str, lm: FrozenLM, n: int, what: str) -> Tensor:
    try:
        ids = readable_ids(lm.tokenizer, lm.tokenizer(text, add_special_tokens=False)["input_ids"], lm.vocab_size)
    except ValueError as error:
        raise UserError(f"{SETTING}: {error}") from None
    if not ids:
        raise UserError(f"{SETTING}: {what} is empty")
    return text_rows(lm.embedding, ids, n)[None]


def _of_run(path: Path, names: Sequence[str] | None, several: int) -> Tensor:
    """The prompts of a finished run for these terrains, ``several`` for each."""
    # Imported here: most runs start from no other run.
    from distributed.results.run_folder import SUMMARY, open_run

    if not (path / SUMMARY).is_file():
        raise UserError(
            f"{SETTING}: {str(path)!r} holds no PEFT prompt ({CONFIG_FILE}) and no finished run ({SUMMARY})"
        )
    run = open_run(path)
    prompts = run.prompts
    if names is None:
        raise UserError(
            f"{SETTING}: {str(path)!r} has a prompt for each terrain, and a ten starts from one for all: name the "
            "directory of a PEFT prompt"
        )
    for name in names:
        if name not in prompts:
            hint = did_you_mean(name, prompts) or f"; it has {', '.join(prompts)}"
            raise UserError(f"{SETTING}: the run {str(path)!r} has no prompt for {name}{hint}")
    sets = [run.prompt_set(name) for name in names]
    if len(sets[0]) not in (1, several):
        raise UserError(
            f"{SETTING}: the run {str(path)!r} has {len(sets[0])} prompts a terrain: set method.prompts_per_terrain "
            "to as many"
        )
    return torch.from_numpy(np.concatenate([np.repeat(each, several // len(each), axis=0) for each in sets]))


def _features(terrains: Sequence[Terrain]) -> Tensor:
    """The features of all terrains, shape (n_terrains, n_features)."""
    if not terrains:
        raise UserError("method.prompt_source: a ten needs terrains with features")
    sizes = {terrain.features.shape for terrain in terrains}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise UserError("method.prompt_source: a ten needs terrains that all have equally many features")
    return torch.from_numpy(np.stack([terrain.features for terrain in terrains])).float()
