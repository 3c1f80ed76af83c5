"""Reads the folder of a finished run: configuration, summary, prompts and language model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint
from distributed.config import BUNDLED, BUNDLED_LM, TRLX_SECTIONS, RunConfig
from distributed.config.validation_errors import explain
from distributed.config.worlds import make_world
from distributed.errors import UserError, did_you_mean
from distributed.observability.untracked import UNTRACKED, Untracked
from distributed.results.network_prompts import has_network, network_prompts
from distributed.results.summary import Summary
from softprompt.models.chat import make_chat
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import UnfrozenLM
from terrains.base import Terrain, World
from terrains.loading import expanded
from terrains.registry import catalogue, is_light

SUMMARY, CONFIG, PROMPTS = "summary.json", "config.json", "prompts.safetensors"
LAYERS = "layers.safetensors"
"""Trained layers of the language model, where not all of it was frozen."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended, as its folder has it.

    Attributes:
        path: its folder.
        name: its folder's name; of a search's member, the search's name and the member's path in its folder.
        config: its settings.
        summary: its results.
        prompts: by terrain, shape (n_soft_tokens, d), float32, in the run's order; of a run with several prompts a
            terrain, shape (n, n_soft_tokens, d).
    """

    path: Path
    name: str
    config: RunConfig
    summary: Summary
    prompts: dict[str, np.ndarray]

    @property
    def base_model(self) -> str:
        """Directory, as an absolute path, or hub id of the language model."""
        return base_model_of(self.config)

    def mlflow_run_id(self) -> str | None:
        """Id of the MLflow run that recorded it, where its folder says so."""
        if (noted := Untracked(self.path / UNTRACKED).run.get("id")) is not None:
            return str(noted)
        try:
            newest = latest(self.path)
            return load_checkpoint(newest).state["run"]["mlflow_run_id"] if newest else None
        except (CheckpointError, KeyError, TypeError):
            return None

    def load_base(self) -> FrozenLM:
        """Loads the language model, on the CPU and in the run's dtype, and checks its hash against the run's.

        Raises:
            UserError: it is not there, or it is another one.
        """
        try:
            lm = FrozenLM.load(
                self.base_model,
                self.config.compute.dtype,
                chat=make_chat(**self.config.chat.model_dump()),
                quantization=self.config.compute.quantization,
            )
        except ValueError as error:
            raise UserError(f"{self.path}: {error}") from None
        expected, found = self.summary.lm_hash, lm.hash
        if expected is not None and found != expected:
            raise UserError(
                f"{self.path}: its prompts were tuned for a language model with hash {expected[:12]}, and the one in "
                f"{self.base_model!r} has hash {found[:12]}"
            )
        for name in self.prompts:
            _, rows, width = self.prompt_set(name).shape
            if width != lm.d_model or (lm.max_length is not None and rows >= lm.max_length):
                raise UserError(
                    f"{str(self.path / PROMPTS)!r}: the prompt of {name} has {rows} rows of {width} numbers; the "
                    f"language model reads rows of {lm.d_model}, and {lm.max_length or 'any number of'} positions"
                )
        return lm

    @property
    def has_layers(self) -> bool:
        """Whether layers of the language model were trained too; its prompts need them."""
        return (self.path / LAYERS).exists()

    def load_policy(self) -> FrozenLM:
        """Loads the language model that the prompts belong to: the base, with trained layers if there are any.

        Raises:
            UserError: as `load_base` does, or the layers are damaged.
        """
        base, file = self.load_base(), self.path / LAYERS
        if not self.has_layers:
            return base
        try:
            layers = load_file(file)
            policy = UnfrozenLM(base, layers.keys())
            policy.load_weights(layers)
        except (OSError, SafetensorError, ValueError) as error:
            raise UserError(f"cannot read {str(file)!r}: {error}") from None
        return policy

    def prompt_set(self, name: str) -> np.ndarray:
        """Returns all prompts of one of its terrains, shape (n, n_soft_tokens, d)."""
        prompt = self.prompts[name]
        return prompt.reshape(-1, *prompt.shape[-2:])

    def prompts_for(
        self, terrain: Terrain, terrain_of: Callable[[str], Terrain], kind: str | None = None
    ) -> np.ndarray:
        """Returns the prompts of a terrain, shape (n, n_soft_tokens, d); a run with a network has one for any terrain.

        Args:
            terrain: what it is for.
            terrain_of: returns the terrain of a name, with its features as this version computes them.
            kind: of program that is wanted, as `wanted_point` reads it; its prompt is made by a network that has
                learnt several kinds a terrain, for a trained terrain too.

        Raises:
            UserError: the run has no prompt for it and no network, or its network was trained on other features; or
                there is no such kind.
        """
        name = terrain.name
        if kind is None and name in self.prompts:
            return self.prompt_set(name)
        if kind is None and not has_network(self.path):
            has = did_you_mean(name, self.prompts) or f"; it has {', '.join(self.prompts)}"
            raise UserError(
                f"--terrain: {str(self.path)!r} has no prompt for {name!r}{has}; for terrains that it was not trained "
                "on a run needs method.prompt_source=ten"
            )
        return network_prompts(self.path, terrain, terrain_of, self.summary.niches, kind)

    def make_world(self) -> World:
        """Makes the world that scored its programs; a world from a file as the file was then.

        Raises:
            UserError: it cannot be made any more.
        """
        return make_world(self.config, self.path)

    def canonical(self, name: str) -> str:
        """Returns the one name of a terrain, where its world can tell without being made; else the name as it is."""
        name = name.strip()
        try:
            return catalogue(self.config.terrains.world).canonical_name(name) if self._is_light else name
        except ValueError:
            return name

    @property
    def _is_light(self) -> bool:
        return is_light(self.config.terrains.world)

    def choose(self, names: Sequence[str]) -> list[str]:
        """Returns the run's terrains of these names, in any spelling; all of them if no name is given.

        Raises:
            UserError: the run has no such terrain; the message names the nearest one.
        """
        chosen = dict.fromkeys(self.canonical(name) for name in names) or dict.fromkeys(self.prompts)
        for name in chosen:
            if name not in self.prompts:
                hint = did_you_mean(name, self.prompts) or f"; it has {', '.join(self.prompts)}"
                raise UserError(f"--terrain: {str(self.path)!r} has no prompt for {name!r}{hint}")
        return list(chosen)


def base_model_of(config: RunConfig) -> str:
    """Directory, as an absolute path, or hub id of the language model that settings name."""
    path = config.model.model_path
    if path == BUNDLED:
        return str(BUNDLED_LM)
    local = expanded(path)
    return str(local.resolve()) if local.is_dir() else path


def open_run(path: str | Path) -> FinishedRun:
    """Reads the folder of a run, or that of the best member of a search.

    Args:
        path: the folder, such as ``runs/quickstart``.

    Raises:
        UserError: there is no such folder, the run did not end, or a file is damaged.
    """
    folder = expanded(path)
    if not folder.is_dir():
        raise UserError(f"there is no run {str(path)!r}{_nearest_folder(folder)}")
    name = folder.resolve().name
    said = read_object(folder / SUMMARY)
    if "best_run" in said or "best" in said:
        folder = _best_member(folder, said)
        name = f"{name}/{said['best_run']}"
        said = read_object(folder / SUMMARY)
    try:
        summary = Summary.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{folder / SUMMARY} is not the summary of a run: {where}: {first['msg']}") from None
    return FinishedRun(folder, name, read_config(folder / CONFIG), summary, _read_prompts(folder / PROMPTS, summary))


def _best_member(folder: Path, said: dict) -> Path:
    """The run folder of a search's best member."""
    if not isinstance(said.get("best_run"), str):
        raise UserError(f"the search {str(folder)!r} has no best member: {SUMMARY} names no best_run")
    member = folder / said["best_run"]
    if not member.is_dir():
        raise UserError(f"the search {str(folder)!r} has lost its best member: there is no {str(member)!r}")
    return member


def _nearest_folder(folder: Path) -> str:
    """A hint at the folder beside it with the most similar name."""
    if not folder.parent.is_dir():
        return ""
    return did_you_mean(folder.name, [each.name for each in folder.parent.iterdir() if each.is_dir()])


def read_object(file: Path, kind: str = "finished run") -> dict[str, Any]:
    """Reads a JSON file of a folder.

    Args:
        file: the file.
        kind: what the folder is not where the file is missing, for the message.

    Raises:
        UserError: the file is not there, or holds no object.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{str(file.parent)!r} is no {kind}: it has no {file.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {str(file)!r}: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"cannot read {str(file)!r}: it holds no object")
    return data


def check_sections(data: Mapping[str, Any], file: Path) -> None:
    """Checks that noted settings have the sections that every run notes: a missing one would be taken for defaults.

    Raises:
        UserError: a section is missing.
    """
    if missing := next((section for section in TRLX_SECTIONS if section not in data), None):
        raise UserError(f"{str(file)!r} does not hold the settings of a run: it has no section {missing!r}")


def read_config(file: Path) -> RunConfig:
    """Reads the settings that a run or a search noted in its folder.

    Raises:
        UserError: the file is not there, or is damaged.
    """
    data = read_object(file)
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        raise UserError(explain(error, RunConfig, source=str(file))) from None
    check_sections(data, file)
    return config


def _read_prompts(file: Path, summary: Summary) -> dict[str, np.ndarray]:
    """The prompts of the summary's terrains."""
    if not file.is_file():
        raise UserError(f"{str(file.parent)!r} is no finished run: it has no {file.name}")
    try:
        saved = load_file(file)
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: of a type that numpy lacks, such as bfloat16
        raise UserError(f"cannot read {str(file)!r}: {error}") from None
    for name in summary.terrains:
        if name not in saved:
            raise UserError(f"{str(file)!r} has no prompt for {name}, which {SUMMARY} names")
        if saved[name].ndim not in (2, 3) or not saved[name].size or not np.isfinite(saved[name]).all():
            raise UserError(f"{str(file)!r}: the prompt of {name} is damaged: its shape or its numbers are wrong")
    return {name: saved[name].astype(np.float32) for name in summary.terrains}
