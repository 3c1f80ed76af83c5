"""Reads configurations: YAML files, settings given on the command line, and clear messages for mistakes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.kinds import check_kind
from distributed.config.notes import Note
from distributed.config.renamed import current_name, with_current_names
from distributed.config.trlx_2022 import translate
from distributed.config.trlx_files import adapt, replace_adapter
from distributed.config.validation_errors import explain, explanations
from distributed.config.yaml_files import load_yaml, read_sections
from distributed.errors import UserError
from distributed.infra.passwords import secrets_in
from terrains.errors import is_utf8, one_line
from terrains.loading import expanded

logger = logging.getLogger("terraprompt")

ONLY_TRLX = "has no effect: only trlx reads it"
KEEPS_SECRET = (
    "looks like a password or key, and is written to the run's config.json: better let the world or the reward read "
    "it from an environment variable"
)
HAS_NUL = "has a NUL character, which no name or path can"
HAS_SURROGATE = "has half of a character (a lone surrogate), which no text in UTF-8 can"


@dataclass(frozen=True)
class Understood:
    """Settings as they are understood, before they are checked.

    Attributes:
        sections: the settings in this project's format.
        from_2022: what became of settings in trlx's formats of 2022.
        notes: what became of others.
        overridden: full names of settings that were set on the command line.
    """

    sections: dict[str, Any]
    from_2022: tuple[Note, ...]
    notes: tuple[Note, ...]
    overridden: tuple[str, ...]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads the configuration of a run.

    Args:
        path: YAML file in this project's format, in trlx's, or in trlx's of 2022.
        overrides: settings that come before those of the file, such as ``method.n_soft_tokens=8``; values are YAML.

    Raises:
        UserError: the file is not there or no YAML, there is no such setting, or a value is not one that it takes.
    """
    config = parse_config(read_sections(path), overrides, source=str(path))
    from distributed.config.worlds import with_whole_paths  # which imports the configuration itself

    return with_whole_paths(config, expanded(path).absolute().parent)


def parse_config(
    data: Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any] = (), source: str = ""
) -> RunConfig:
    """Makes a configuration from sections of settings, which are not changed.

    Args:
        data: sections in any of the formats of ``load_config``.
        overrides: see ``load_config``; or values by the full names of settings.
        source: where the sections come from, for messages.

    Raises:
        UserError: there is no such setting, or a value is not one that it takes.
    """
    understood = understand(data, overrides, source)
    if understood.from_2022:
        said = "; ".join(map(str, understood.from_2022))
        logger.warning("%s is in trlx's format of 2022 and is read so: %s", source or "this", said)
    for note in understood.notes:
        logger.warning("%s", note)
    config = validated(understood.sections, source, understood.overridden)
    idle = [note.name for note in without_effect(config) if note.words == ONLY_TRLX]
    if idle:
        logger.warning("%s: only trlx reads %s", source or "settings", ", ".join(idle))
    for note in without_effect(config):
        if note.words != ONLY_TRLX:
            logger.warning("%s", note)
    for note in kept_secrets(config):
        logger.warning("%s", note)
    return config


def understand(
    data: Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any] = (), source: str = ""
) -> Understood:
    """Turns sections of settings, which are not changed, into this project's format; their values are not checked.

    Args:
        data: sections in any of the formats of ``load_config``.
        overrides: see ``parse_config``.
        source: where the sections come from, for messages.

    Raises:
        UserError: they are of something else than a run, or a setting is there in two formats.
    """
    try:
        check_kind(data)
        sections, from_2022 = translate(data)
        sections = with_current_names(sections)
    except (UserError, ValueError) as error:
        raise UserError(f"{source}: {error}" if source else str(error)) from None
    sections = {name: {} if content is None else content for name, content in sections.items()}
    notes = adapt(sections)
    pairs = overrides.items() if isinstance(overrides, Mapping) else map(_split, overrides)
    changed = {current_name(name): copy.deepcopy(value) for name, value in pairs}
    for name, value in changed.items():
        _set(sections, name, value)
    if adapter := replace_adapter(sections):
        notes.append(adapter)
    return Understood(sections, tuple(from_2022), tuple(notes), tuple(changed))


def with_settings(config: RunConfig, changed: Mapping[str, Any]) -> RunConfig:
    """Returns a copy of a configuration with some settings, named in full, changed and checked again.

    Raises:
        UserError: there is no such setting, or the value is not one that it takes.
    """
    sections = config.model_dump(mode="json")
    for name, value in changed.items():
        _set(sections, current_name(name), copy.deepcopy(value))
    return validated(sections, "", tuple(changed))


def _split(override: str) -> tuple[str, Any]:
    """Splits ``name=value`` and parses the value."""
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise UserError(f"{override!r} sets nothing: write settings as method.n_soft_tokens=8")
    try:
        return name.strip(), load_yaml(text)
    except yaml.YAMLError:
        raise UserError(f"{override!r}: the value is not valid YAML; put quotes around text with signs in it") from None


def _set(sections: dict[str, Any], name: str, value: Any) -> None:
    """Sets a setting by its full name. A value in the place of settings is replaced; validation checks the rest.

    Raises:
        UserError: it stands where one of the sections belongs that all else is in.
    """
    *path, last = name.split(".")
    if path and not isinstance(sections.get(path[0], {}), dict):
        raise UserError(
            f"{path[0]}: must be settings of its own, indented below it, not {one_line(sections[path[0]], 60)}"
        )
    for part in path:
        if not isinstance(sections.get(part), dict):
            sections[part] = {}
        sections = sections[part]
    sections[last] = value


def validated(sections: Mapping[str, Any], source: str = "", overridden: Sequence[str] = ()) -> RunConfig:
    """Makes a configuration from settings in this project's format.

    Args:
        sections: the settings.
        source: where they come from, for messages.
        overridden: full names of those that do not come from there.

    Raises:
        UserError: there is no such setting, or a value is not one that it takes.
    """
    for name, said in _no_texts(sections).items():
        raise UserError((f"{source}: " if source else "") + f"{name}: {said}")
    try:
        return RunConfig.model_validate(sections)
    except ValidationError as error:
        raise UserError(explain(error, RunConfig, source, overridden)) from None


def problems(sections: Mapping[str, Any]) -> dict[str, str]:
    """Returns what is wrong with settings in this project's format, by full name; nothing where all is right.

    What two settings have to do with each other is looked at only where each by itself is right.
    """
    if wrong := _no_texts(sections):
        return wrong
    try:
        RunConfig.model_validate(sections)
    except ValidationError as error:
        return explanations(error, RunConfig)
    return {}


def _no_texts(sections: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the first setting whose name or value has a character that none can have, by its full name."""
    left: list[tuple[str, Any]] = list(sections.items())
    looked_into: set[int] = set()  # anchors of YAML can make a circle
    while left:
        name, value = left.pop()
        for text in (str(name), value if isinstance(value, str) else ""):
            if "\0" in text:
                return {str(name).replace("\0", "?"): HAS_NUL}
            if not is_utf8(text):
                return {str(name).encode("utf-8", "replace").decode(): HAS_SURROGATE}
        if isinstance(value, Mapping | list | tuple) and id(value) not in looked_into:
            looked_into.add(id(value))
            inside = value.items() if isinstance(value, Mapping) else enumerate(value)
            left += [(f"{name}.{key}", each) for key, each in inside]
    return {}


def without_effect(config: RunConfig) -> list[Note]:
    """Returns the settings that were set and have no effect."""
    values = config.model_dump()
    idle = [each.name for each in settings(RunConfig) if each.unused and _get(values, each.name) != each.default]
    notes = [Note(name, ONLY_TRLX) for name in idle]
    if length := _wrong_length(config):
        notes.append(Note("train.seq_length", length))
    return notes


def kept_secrets(config: RunConfig) -> list[Note]:
    """Returns the settings of a world that look like passwords or keys, and what becomes of them."""
    return [Note(name, KEEPS_SECRET) for name, _ in secrets_in(config.terrains.options, "terrains.options")]


def _wrong_length(config: RunConfig) -> str | None:
    """What to say of a sequence length that cannot be the one that follows from the other settings."""
    given, kwargs, n_soft_tokens = config.train.seq_length, config.method.rollout_kwargs, config.method.n_soft_tokens
    if given is None:
        return None
    if kwargs.max_new_tokens is None and kwargs.max_length is not None:
        right, is_right = f"{kwargs.max_length + n_soft_tokens}", given == kwargs.max_length + n_soft_tokens
    else:
        least = n_soft_tokens + kwargs.new_tokens(0)
        right, is_right = f"{least} and the instruction", given > least
    return None if is_right else f": {given} is ignored; it follows from other settings, and is {right}"


def _get(values: Mapping[str, Any], name: str) -> Any:
    value: Any = values
    for part in name.split("."):
        value = value[part]
    return value
