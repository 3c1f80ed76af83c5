"""``terraprompt config convert``: a file of another format, written in this project's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from distributed.config import RunConfig
from distributed.config.describe import settings, value_of
from distributed.config.load import problems, validated
from distributed.config.unsupported import untrainable
from distributed.errors import UserError
from distributed.infra.writing import write_text
from distributed.jobs.config.opened import Opened
from distributed.jobs.config.show import is_said

LENGTH = "train.seq_length"


def converted(file: Opened) -> tuple[str, list[str]]:
    """Writes what a file says, and nothing else, in this project's format.

    Returns:
        The text of the file, which loads without a word, and for each setting that is not in it the reason.

    Raises:
        UserError: settings contradict each other.
    """
    sections, dropped = _without_problems(file)
    dropped = [*file.ignored, *dropped]
    config = validated(sections, file.source)
    kept: dict[str, Any] = {}
    for each in settings(RunConfig):
        if not is_said(sections, each.name):
            continue
        if each.unused:
            dropped.append(f"{each.name}: only trlx reads it")
        elif each.name == LENGTH:
            dropped.append(f"{each.name}: it follows from method.n_soft_tokens, the instruction and method.gen_kwargs")
        else:
            _put(kept, each.name, _value(config, sections, each.name))
    remarks = [f"read as: {note}" for note in file.notes] + [f"dropped: {reason}" for reason in dropped]
    remarks += [f"to be mended: {problem}" for problem in untrainable(config)]
    head = [f"# Made from {Path(file.source).name}, {file.format}.", *(f"# {each}" for each in remarks)]
    return "\n".join(head) + "\n" + yaml.safe_dump(kept, sort_keys=False, width=120), dropped


def write(text: str, path: Path) -> None:
    """Writes a converted file.

    Raises:
        UserError: there is one already, or it cannot be written.
    """
    if path.exists():
        raise UserError(f"--out: {str(path)!r} is there already; name another file")
    write_text(path, text)


def _without_problems(file: Opened) -> tuple[dict[str, Any], list[str]]:
    """The settings of a file but for those that no run takes, and why each of these is not among them."""
    sections, dropped = copy.deepcopy(file.understood.sections), []
    leaves = {each.name for each in settings(RunConfig)}
    while found := problems(sections):
        removed = {name: words for name, words in found.items() if _remove(sections, name, leaves)}
        if not removed:
            name, words = next(iter(found.items()))
            raise UserError(f"{file.source}: {name}: {words}" if name else f"{file.source}: {words}")
        dropped += [f"{name}: {words}" for name, words in removed.items()]
    return sections, dropped


def _remove(sections: dict[str, Any], name: str, leaves: set[str]) -> bool:
    """Takes a setting, or something that is none, out of sections; a section of settings stays."""
    full = name.partition("[")[0]
    if full in RunConfig.model_fields or any(leaf.startswith(f"{full}.") for leaf in leaves) or not full:
        return False
    *path, last = full.split(".")
    holder: Any = sections
    for part in path:
        holder = holder.get(part) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or last not in holder:
        return False
    del holder[last]
    return True


def _value(config: RunConfig, sections: dict[str, Any], name: str) -> Any:
    """A value as it was understood; text as it was written, so that variables of the environment stay."""
    given: Any = sections
    for part in name.split("."):
        given = given[part]
    value = value_of(config, name)
    return given if isinstance(given, str) and isinstance(value, str) else value


def _put(sections: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        sections = sections.setdefault(part, {})
    sections[last] = value
