"""Paths of files in settings: of those that functions come from, and of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from terrains.functions.data_files import HUB
from terrains.loading import names_file, split_reference

Find = Callable[[str], str]


def with_paths(options: Mapping[str, Any], find: Find) -> dict[str, Any]:
    """Returns settings of the world with other paths; what is no path, and what is no setting, stays as it is.

    Args:
        options: settings as `terrains.functions.config.FunctionsConfig` has them, unchecked.
        find: returns the path that stands for one that is written there.
    """
    return {name: _with_paths(name, value, find) for name, value in options.items()}


def _with_paths(name: str, value: Any, find: Find) -> Any:
    if name in ("reward", "fitness", "valid", "metric"):
        return _functions(value, find)
    if name in ("data", "eval_data"):
        return _data(value, find)
    if name == "measures" and isinstance(value, Mapping):
        return {key: _functions(each, find) for key, each in value.items()}
    if name == "terrains" and isinstance(value, Mapping):
        return {key: with_paths(each, find) if isinstance(each, Mapping) else each for key, each in value.items()}
    return value


def _functions(value: Any, find: Find) -> Any:
    """A function, or a list of them, each by its name alone or with its arguments."""
    if isinstance(value, list | tuple):
        return [_functions(each, find) for each in value]
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return {**value, "name": _functions(value["name"], find)}
    if isinstance(value, str) and names_file(value):
        place, function = split_reference(value)
        return f"{find(place)}:{function}"
    return value


def _data(value: Any, find: Find) -> Any:
    if isinstance(value, list | tuple):
        return [_data(each, find) for each in value]
    return find(value) if isinstance(value, str) and not value.startswith(HUB) else value
