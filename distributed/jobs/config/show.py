"""``terraprompt config show``: all settings in effect, and where each of them comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from distributed.config import RunConfig
from distributed.config.describe import as_yaml, settings, value_of
from distributed.config.load import Understood, validated, without_effect
from distributed.config.worlds import with_whole_paths
from distributed.jobs.config.opened import Opened
from terrains.loading import expanded

WIDEST = 48
"""Columns behind which remarks stand, where the values leave room."""


class InEffect(NamedTuple):
    """A setting in effect.

    Attributes:
        value: its value, as plain data.
        origin: ``file``, ``command line``, ``default`` or ``follows``, which is from other settings.
        was: the name that the file has for it, where that is another one.
        idle: whether only trlx reads it, though it is said.
    """

    value: Any
    origin: str
    was: str = ""
    idle: bool = False

    @property
    def remark(self) -> str:
        """The origin in words."""
        return self.origin + (f": {self.was}" if self.was else "") + (", only trlx reads it" if self.idle else "")


def in_effect(config: RunConfig, understood: Understood) -> dict[str, InEffect]:
    """Returns all settings by their full names, in the order of the sections."""
    was = {note.now: note.name for note in (*understood.from_2022, *understood.notes) if note.now}
    found = {}
    for each in settings(RunConfig):
        value = value_of(config, each.name)
        if any(f"{each.name}.".startswith(f"{name}.") for name in understood.overridden):
            found[each.name] = InEffect(value, "command line")
        elif is_said(understood.sections, each.name):
            old = was.get(each.name, each.name)
            found[each.name] = InEffect(value, "file", old if old != each.name else "", each.unused)
        else:
            same = value == value_of(RunConfig(), each.name)
            found[each.name] = InEffect(value, "default" if same else "follows")
    return found


def is_said(sections: Mapping[str, Any], name: str) -> bool:
    """Whether sections hold a setting, by its full name."""
    value: Any = sections
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def as_text(file: Opened) -> str:
    """Returns the settings as YAML that loads as they are, each with a remark on where it comes from.

    Raises:
        UserError: a setting is not right.
    """
    config = _checked(file)
    notes = [*file.notes, *file.ignored, *map(str, without_effect(config))]
    lines = [f"# {file.source}, {file.format}", *(f"# {note}" for note in notes)]
    shown: list[tuple[str, str]] = []
    before: list[str] = []
    for name, each in in_effect(config, file.understood).items():
        *path, last = name.split(".")
        for depth, part in enumerate(path):
            if path[: depth + 1] != before[: depth + 1]:
                shown.append((f"{'  ' * depth}{part}:", ""))
        before = path
        shown.append((f"{'  ' * len(path)}{last}: {as_yaml(each.value)}", each.remark))
    width = min(WIDEST, max(len(text) for text, _ in shown))
    return "\n".join([*lines, *(f"{text:<{width}}  # {remark}" if remark else text for text, remark in shown)]) + "\n"


def as_json(file: Opened) -> str:
    """Returns the settings by full name, each with its value and where it comes from, as JSON.

    Raises:
        UserError: a setting is not right.
    """
    config = _checked(file)
    data = {
        "source": file.source,
        "format": file.format,
        "notes": [*file.notes, *file.ignored, *map(str, without_effect(config))],
        "settings": {name: dict(_said(each)) for name, each in in_effect(config, file.understood).items()},
    }
    return json.dumps(data, indent=2, default=str) + "\n"


def _checked(file: Opened) -> RunConfig:
    """All settings; what is named by a path is found from wherever what is shown is kept."""
    config = validated(file.understood.sections, file.source, file.understood.overridden)
    return with_whole_paths(config, expanded(file.source).absolute().parent)


def _said(each: InEffect) -> Iterator[tuple[str, Any]]:
    yield "value", each.value
    yield "origin", each.origin
    if each.was:
        yield "was", each.was
