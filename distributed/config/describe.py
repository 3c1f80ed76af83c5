"""All settings by their full names, for error messages and for the commands that show them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from distributed.config.section import Section, is_unused


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: full name, such as ``optimizer.kwargs.lr``.
        default: its value where nothing is said.
        meaning: its documentation, in one line.
        unused: whether only trlx reads it.
    """

    name: str
    default: Any
    meaning: str
    unused: bool


def settings(section: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Yields the settings of a section and of the sections in it, in the order of their declaration."""
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        default = field.get_default(call_default_factory=True)
        if inner is not None and default is not None:
            yield from settings(inner, f"{prefix}{name}.")
        else:
            meaning = " ".join((field.description or "").split())
            yield Setting(prefix + name, default, meaning, is_unused(section, name))


def value_of(config: BaseModel, name: str) -> Any:
    """Returns the value of a setting by its full name, as plain data."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return _plain(value)


def as_yaml(value: Any) -> str:
    """Returns plain data as it is written in a file, on one line."""
    if isinstance(value, str) and len(value.splitlines()) > 1:
        return json.dumps(value)
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("\n...\n").strip()


def _plain(value: Any) -> Any:
    """Sections as dicts and tuples as lists, inside of each other too."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def section_in(annotation: Any) -> type[Section] | None:
    """The section class that a field's type is, or may be."""
    candidates = get_args(annotation) or (annotation,)
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, Section)), None)


def written_name(root: type[Section], location: tuple[str | int, ...]) -> tuple[str, type[Section] | None]:
    """Turns pydantic's location of a problem into the name a user knows.

    Args:
        root: the section that was validated.
        location: keys and indices; in unions also tags, which are left out.

    Returns:
        The name, such as ``terrains.names[2]``, and the section that its last key is looked up in, if it is one.
    """
    name, mapping = "", False
    holder: type[Section] | None = root
    inside: type[Section] | None = root
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif inside is not None:
            name += f".{part}" if name else part
            holder = inside
            field = inside.model_fields.get(part)
            inside = section_in(field.annotation) if field else None
            mapping = field is not None and get_origin(field.annotation) is dict
        elif mapping:
            name, mapping = f"{name}.{part}", False
    return name, holder
