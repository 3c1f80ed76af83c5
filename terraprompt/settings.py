"""Settings in whatever form they are given, as the sections that a configuration is made of."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.yaml_files import read_sections
from distributed.errors import UserError, did_you_mean
from terrains.errors import is_utf8
from terrains.loading import described, expanded

PER_TERRAIN = 32
"""Texts a step and terrain, where no configuration is given."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "method": {
        "n_soft_tokens": 8,
        "num_rollouts": PER_TERRAIN,
        "estimator": "rloo",
        "advantage_shaping": "none",
        "scale_reward": "terrain",
        "replay_weight": 0.0,
        "gen_kwargs": {"max_new_tokens": 40},
    },
    "warm_start": {"samples": 64, "steps": 0},
    "optimizer": {"kwargs": {"lr": 0.01}},
    "train": {"total_steps": 30, "checkpoint_interval": 5},
    "evaluation": {"samples_per_terrain": 64},
}
"""PPO alone, which suits pretrained models; what is not here is as ``terraprompt settings`` lists it."""

SEVERAL = "__"
"""What stands for the dots of a setting's name where it is written as a keyword argument."""


@dataclass(frozen=True)
class Sections:
    """Sections of settings, and where they come from.

    Attributes:
        said: the sections; they are not changed.
        folder: the one that their paths count from, besides the current one.
        source: what messages call them.
        run_name: what a run is called by them where they do not say it.
    """

    said: Mapping[str, Any]
    folder: Path = field(default_factory=Path.cwd)
    source: str = ""
    run_name: str | None = None

    def section(self, name: str) -> Mapping[str, Any]:
        """Returns one of the sections, empty where there is none.

        Raises:
            UserError: it is no section.
        """
        found = self.said.get(name)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            said = f"{self.source}: {name}" if self.source else name
            raise UserError(f"{said}: is {type(found).__name__!r}, and no section with settings")
        return found


def default_config(terrains: int = 1) -> RunConfig:
    """Returns the settings that `train` has where no configuration is given: PPO on a pretrained model, 30 steps.

    Args:
        terrains: how many soft prompts are trained, with 32 texts a step each.
    """
    return RunConfig.model_validate(default_sections(terrains))


def default_sections(terrains: int) -> dict[str, Any]:
    """Returns the sections of `default_config`."""
    method = {**DEFAULTS["method"], "num_rollouts": PER_TERRAIN * max(1, terrains)}
    # The terrains that a configuration has by default are sodarace's, which ask for more than one text a step.
    return {**DEFAULTS, "method": method}


def sections_of(config: Any) -> Sections:
    """Returns the sections of a configuration.

    Args:
        config: a `RunConfig`; sections in a dict; the path of a YAML file; or an object with a method ``to_dict``, such
            as trlx's TRLConfig.

    Raises:
        UserError: it is something else, or the file cannot be read.
    """
    if isinstance(config, RunConfig):
        return Sections(config.model_dump(mode="json", by_alias=True, exclude_unset=True))
    if isinstance(config, str | os.PathLike):
        path = expanded(config)
        return Sections(read_sections(path), path.absolute().parent, str(config), path.stem)
    said = config
    if callable(getattr(config, "to_dict", None)):
        try:
            said = config.to_dict()
        except Exception as error:
            raise UserError(f"config: its method to_dict fails: {described(error)}") from error
    if not isinstance(said, Mapping) or not all(isinstance(name, str) for name in said):
        raise UserError(
            f"config: is {type(config).__name__!r}; give the path of a YAML file, a dict of sections, a RunConfig, or "
            "what has a method to_dict, as trlx's TRLConfig"
        )
    return Sections(said)


def full_names(given: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings by their full names, where ``train__total_steps`` is ``train.total_steps``.

    Args:
        given: as they were given.
        arguments: names that could have been meant where one is no setting's.

    Raises:
        UserError: one has no section.
    """
    named = {name.replace(SEVERAL, "."): value for name, value in given.items()}
    for name in named:
        if "." not in name:
            known = [*arguments, *(each.name for each in settings(RunConfig))]
            hint = did_you_mean(name, known) or "; settings are written as **{'train.total_steps': 3}"
            raise UserError(f"train takes no argument {name!r}{hint}")
    return named


def path_of(argument: str, given: Any) -> str:
    """Returns a path that was given as an argument.

    Args:
        argument: its name, for messages.
        given: what it was given.

    Raises:
        UserError: it is no path.
    """
    path = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(path, str) or "\0" in path:
        raise UserError(f"{argument}: is {given!r:.60}, and no path")
    return path


def texts_of(argument: str, given: Any) -> list[str]:
    """Returns texts that were given as an argument.

    Args:
        argument: its name, for messages.
        given: a text, or several.

    Raises:
        UserError: it is something else.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Iterable) or isinstance(texts, bytes | Mapping):
        raise UserError(f"{argument}: is {type(given).__name__!r}, and not a list of texts")
    texts = list(texts)
    for place, each in enumerate(texts):
        if not isinstance(each, str):
            raise UserError(f"{argument}[{place}]: is {type(each).__name__!r}, and not a text")
        if not is_utf8(each):
            raise UserError(f"{argument}[{place}]: has half of a character (a lone surrogate), which no text can")
    return texts


@contextmanager
def in_words_of_arguments() -> Iterator[None]:
    """Calls an argument by its own name in errors that call it as an option of the command, such as ``--resume``."""
    try:
        yield
    except UserError as error:
        if str(error).startswith("--"):
            raise type(error)(str(error).removeprefix("--")) from None
        raise


def where_workers_are(sections: Sections, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Returns whether workers are on Ray, where no setting says so: if there is one already, else in this process."""
    said = sections.section("ray")
    if "ray.enabled" in changed or "enabled" in said:
        return {}
    ray = sys.modules.get("ray")  # what has not been imported is not connected
    connected = ray is not None and ray.is_initialized()
    named = changed.get("ray.address") or said.get("address")
    return {"ray.enabled": bool(connected or named or os.environ.get("RAY_ADDRESS"))}
