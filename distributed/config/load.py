"""Reads configurations: YAML files, settings given on the command line, and clear messages for mistakes."""

from __future__ import annotations

import copy
import difflib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.renamed import current_name, with_current_names
from distributed.config.trlx_2022 import translate
from distributed.config.trlx_files import check_kind, replace_adapter
from distributed.config.validation_errors import explain
from distributed.errors import UserError

logger = logging.getLogger("terraprompt")

OTHER_TRACKERS = ("wandb", "tensorboard")
LONGEST = 1_000_000
"""Bytes of a configuration file beyond which it is not looked at; none is near it."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would silently keep the second.

    Only what is written is looked at: what a merge key (``<<: *base``) brings along gives way to the keys beside it.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key has to be text", key.start_mark)
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return node


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads the configuration of a run.

    Args:
        path: YAML file in this project's format, in trlx's, or in trlx's of 2022.
        overrides: settings that come before those of the file, such as ``method.n_soft_tokens=8``; values are YAML.

    Raises:
        UserError: the file is not there or no YAML, there is no such setting, or a value is not one that it takes.
    """
    config = parse_config(read_sections(path), overrides, source=str(path))
    from distributed.config.worlds import resolved_world  # which imports the configuration itself

    world = resolved_world(config.terrains.world, Path(path).expanduser().absolute().parent)
    return with_settings(config, {"terrains.world": world}) if world != config.terrains.world else config


def read_sections(path: str | Path) -> Mapping[str, Any]:
    """Reads a YAML file as the sections it consists of, in any format.

    Raises:
        UserError: the file is not there or no YAML.
    """
    file = Path(path).expanduser()
    try:
        with file.open("rb") as opened:
            data = opened.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise ValueError(f"it is larger than {LONGEST:,} bytes")
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"no configuration file {str(path)!r}{_nearest_file(file)}") from None
    except (OSError, ValueError) as error:  # bytes that are no text, or a path that no file can have
        raise UserError(f"cannot read the configuration file {str(path)!r}: {error}") from None
    return _parse(text, str(path))


def parse_config(data: Mapping[str, Any], overrides: Sequence[str] = (), source: str = "") -> RunConfig:
    """Makes a configuration from sections of settings, which are not changed.

    Args:
        data: sections in any of the formats of ``load_config``.
        overrides: see ``load_config``.
        source: where the sections come from, for messages.

    Raises:
        UserError: there is no such setting, or a value is not one that it takes.
    """
    try:
        check_kind(data)
        sections, notes = translate(data)
        sections = with_current_names(sections)
    except (UserError, ValueError) as error:
        raise UserError(f"{source}: {error}" if source else str(error)) from None
    if notes:
        logger.warning("%s is in trlx's format of 2022 and is read so: %s", source or "this", "; ".join(notes))
    sections = {name: {} if content is None else content for name, content in sections.items()}
    _use_mlflow(sections)
    changed = {current_name(name): value for name, value in map(_split, overrides)}
    for name, value in changed.items():
        _set(sections, name, value)
    if note := replace_adapter(sections):
        logger.warning("%s", note)
    config = _validate(sections, source, tuple(changed))
    _say_what_has_no_effect(config, source)
    return config


def with_settings(config: RunConfig, changed: Mapping[str, Any]) -> RunConfig:
    """Returns a copy of a configuration with some settings, named in full, changed and checked again.

    Raises:
        UserError: there is no such setting, or the value is not one that it takes.
    """
    sections = config.model_dump(mode="json")
    for name, value in changed.items():
        _set(sections, current_name(name), copy.deepcopy(value))
    return _validate(sections, "", tuple(changed))


def _parse(text: str, source: str) -> Mapping[str, Any]:
    """Parses YAML that is a mapping; an empty file is one without settings."""
    try:
        data = _load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{source} is not valid YAML{where}: {what}") from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise UserError(f"{source} is no configuration: it has to consist of sections such as `method:`")
    return data


def _load(text: str) -> Any:
    """Parses YAML.

    Raises:
        yaml.YAMLError: it is none, or a value in it cannot be: a 13th month, more digits or brackets than Python takes.
    """
    try:
        data = yaml.load(text, _Loader)  # a SafeLoader
        _size(data, {})
        return data
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from None
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def _size(data: Any, known: dict[int, int]) -> int:
    """Counts values as they stand once aliases are written out, each of which may double them.

    Raises:
        yaml.YAMLError: there are more than ``LONGEST``.
    """
    if not isinstance(data, dict | list):
        return 1
    if id(data) not in known:
        known[id(data)] = 1  # for an alias that stands inside what it stands for
        known[id(data)] = 1 + sum(_size(each, known) for each in (data.values() if isinstance(data, dict) else data))
        if known[id(data)] > LONGEST:
            raise yaml.YAMLError(f"with its aliases written out it has more than {LONGEST:,} values")
    return known[id(data)]


def _split(override: str) -> tuple[str, Any]:
    """Splits ``name=value`` and parses the value."""
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise UserError(f"{override!r} sets nothing: write settings as method.n_soft_tokens=8")
    try:
        return name.strip(), _load(text)
    except yaml.YAMLError:
        raise UserError(f"{override!r}: the value is not valid YAML; put quotes around text with signs in it") from None


def _set(sections: dict[str, Any], name: str, value: Any) -> None:
    """Sets a setting by its full name. What stands where a section belongs is replaced; validation checks the rest."""
    *path, last = name.split(".")
    for part in path:
        if not isinstance(sections.get(part), dict):
            sections[part] = {}
        sections = sections[part]
    sections[last] = value


def _validate(sections: Mapping[str, Any], source: str, overridden: Sequence[str]) -> RunConfig:
    if (name := _with_nul(sections)) is not None:
        raise UserError((f"{source}: " if source else "") + f"{name}: has a NUL character, which no name or path can")
    try:
        return RunConfig.model_validate(sections)
    except ValidationError as error:
        raise UserError(explain(error, RunConfig, source, overridden)) from None


def _with_nul(sections: Mapping[str, Any]) -> str | None:
    """The full name of a setting with a NUL character in its name or its value, if there is one."""
    left: list[tuple[str, Any]] = list(sections.items())
    looked_into: set[int] = set()  # anchors of YAML can make a circle
    while left:
        name, value = left.pop()
        if "\0" in str(name) or (isinstance(value, str) and "\0" in value):
            return str(name).replace("\0", "?")
        if isinstance(value, Mapping | list | tuple) and id(value) not in looked_into:
            looked_into.add(id(value))
            inside = value.items() if isinstance(value, Mapping) else enumerate(value)
            left += [(f"{name}.{key}", each) for key, each in inside]
    return None


def _use_mlflow(sections: dict[str, Any]) -> None:
    """Takes MLflow where a file names a tracker of trlx's."""
    train = sections.get("train")
    if isinstance(train, dict) and train.get("tracker") in OTHER_TRACKERS:
        logger.warning("train.tracker: runs are recorded in mlflow, not in %s", train["tracker"])
        train["tracker"] = "mlflow"


def _say_what_has_no_effect(config: RunConfig, source: str) -> None:
    """Names in the log the settings that were set and have no effect."""
    values = config.model_dump()
    idle = [each.name for each in settings(RunConfig) if each.unused and _get(values, each.name) != each.default]
    if idle:
        logger.warning("%s: only trlx reads %s", source or "settings", ", ".join(idle))
    _check_seq_length(config)


def _check_seq_length(config: RunConfig) -> None:
    """Says that a sequence length is ignored, where it cannot be the one that follows from the other settings."""
    given, kwargs, n_soft_tokens = config.train.seq_length, config.method.rollout_kwargs, config.method.n_soft_tokens
    if given is None:
        return
    if kwargs.max_new_tokens is None and kwargs.max_length is not None:
        right, is_right = f"{kwargs.max_length + n_soft_tokens}", given == kwargs.max_length + n_soft_tokens
    else:
        least = n_soft_tokens + kwargs.new_tokens(0)
        right, is_right = f"{least} and the instruction", given > least
    if not is_right:
        logger.warning("train.seq_length: %s is ignored; it follows from other settings, and is %s", given, right)


def _get(values: Mapping[str, Any], name: str) -> Any:
    value: Any = values
    for part in name.split("."):
        value = value[part]
    return value


def _nearest_file(file: Path) -> str:
    """Names a file of the same directory, or of ``configs``, with a name like this one's."""
    there = [each for folder in (file.parent, Path("configs")) for each in sorted(folder.glob("*.y*ml"))]
    found = difflib.get_close_matches(file.name, [each.name for each in there], n=1)
    return f"; did you mean {next(each for each in there if each.name == found[0])}?" if found else ""
