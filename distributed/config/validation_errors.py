"""Puts pydantic's errors into one line that names the setting and says what it has to be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from distributed.config.describe import settings, written_name
from distributed.config.section import Section
from distributed.config.trlx_files import NOT_HERE
from distributed.errors import did_you_mean, nearest

MOST_SHOWN = 60
BY_LIMIT = {
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be above {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be below {lt:g}",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} of them",
    "too_long": "must have at most {max_length} of them",
    "string_too_short": "must not be empty",
    "finite_number": "must be finite",
}
BY_KIND = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "dict": "must be settings of its own, indented below it",
    "model": "must be settings of its own, indented below it",
}


def explain(error: ValidationError, root: type[Section], source: str = "", overridden: Collection[str] = ()) -> str:
    """Returns one line on the first problem, and how many there are.

    Args:
        error: what pydantic raised.
        root: the section that was validated.
        source: name of the file, put before problems that come from it.
        overridden: full names that were set on the command line; their problems do not come from the file.
    """
    problems = explanations(error, root)
    name, first = next(iter(problems.items()))
    from_file = source and not any(_overlap(name, each) for each in overridden)
    more = len(problems) - 1
    also = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
    return (f"{source}: " if from_file else "") + (f"{name}: " if name else "") + first + also


def explanations(error: ValidationError, root: type[Section]) -> dict[str, str]:
    """Returns what is wrong with each setting, by its full name; the empty name is that of the whole."""
    problems: dict[str, str] = {}
    for detail in error.errors():
        name, holder = written_name(root, detail["loc"])
        problems.setdefault(name, _problem(name, detail, root, holder))
    return problems


def _overlap(name: str, other: str) -> bool:
    """Whether one of two names is the other, or of something in it. The empty name is that of the whole."""
    return not name or f"{name}.".replace("[", ".").startswith(f"{other}.") or other.startswith(f"{name}.")


def _problem(name: str, detail: Any, root: type[Section], holder: type[Section] | None) -> str:
    """What is wrong with one setting."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden" and "." in str(detail["loc"][-1]):
        return _nested(name, value, root)
    if kind == "extra_forbidden" and name in NOT_HERE:
        return NOT_HERE[name]
    if kind == "extra_forbidden":
        return "no such setting" + _suggestion(name, root, holder)
    if kind == "value_error":
        return str(context["error"])
    text = BY_LIMIT.get(kind, "").format(**context) or BY_KIND.get(kind.split("_")[0]) or detail["msg"]
    hint = did_you_mean(value, re.findall(r"'([^']+)'", text)) if kind == "literal_error" else ""
    if kind == "finite_number" and value == math.inf:
        hint = "; 1e9 does the same"
    return f"{text}, not {_shown(value)}{hint}"


def _nested(name: str, value: Any, root: type[Section]) -> str:
    """What to write in a file in place of a dotted name."""
    meant = nearest(name, [each.name for each in settings(root)])
    if meant is None:
        return "no such setting; `terraprompt settings` lists those there are"
    *outer, last = meant.split(".")
    text = f"{last}: {_shown(value)}"
    for section in reversed(outer):
        text = f"{section}: {{{text}}}"
    return f"a file nests its settings: write {text}; dotted names are for the command line"


def _suggestion(name: str, root: type[Section], holder: type[Section] | None) -> str:
    """The setting that was probably meant: one of the same section, or of that very name in another."""
    prefix, _, last = name.rpartition(".")
    siblings = holder.model_fields if holder else ()
    found = nearest(last, siblings)
    if found:
        return f"; did you mean {prefix}.{found}?" if prefix else f"; did you mean {found}?"
    elsewhere = [each.name for each in settings(root) if each.name.endswith(f".{last}")]
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; `terraprompt settings{f' {prefix}' if prefix else ''}` lists those there are"


def _shown(value: Any) -> str:
    """A value as it looks in YAML, cut to a length that fits a line."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):  # keys that JSON has not, or YAML anchors that make a circle
        text = " ".join(str(value).split())
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
