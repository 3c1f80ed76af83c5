"""A part of JSON Schema (json-schema.org, draft 2020-12): as many checks as a schema has, passed or not."""

from __future__ import annotations

import re
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
KEYWORDS = (
    "type",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "pattern",
)
NOTES = ("title", "description", "default", "examples", "$schema", "$id")
"""Keywords that check nothing."""


def unknown_keywords(schema: Any) -> list[str]:
    """Returns the keywords of a schema that are not checked here."""
    if not isinstance(schema, dict):
        return []
    own = [f"{key!r}" for key in schema if key not in (*KEYWORDS, *NOTES)]
    inner = [*schema.get("properties", {}).values(), schema.get("items")]
    return own + [each for part in inner for each in unknown_keywords(part)]


def checks(value: Any, schema: dict[str, Any]) -> list[bool]:
    """Returns which checks of a schema a value passes.

    There is one for each keyword, and for each required key; what has a key as ``properties`` says counts as its
    checks do, all failed where a required key is missing.
    """
    passed = []
    for keyword, asked in schema.items():
        if keyword == "properties":
            for key, part in asked.items():
                if isinstance(value, dict) and key in value:
                    passed += checks(value[key], part)
                elif key in schema.get("required", ()):
                    passed += [False] * _count(part)
        elif keyword == "required":
            passed += [isinstance(value, dict) and key in value for key in asked]
        elif keyword == "items":
            passed += [all(all(checks(each, asked)) for each in value) if isinstance(value, list) else True]
        elif keyword == "additionalProperties":
            passed += [_additional(value, asked, schema.get("properties", {}))]
        elif keyword not in NOTES:
            passed += [_holds(value, keyword, asked)]
    return passed


def is_type(value: Any, kind: str) -> bool:
    """Whether a value is of a type of JSON; a whole number such as 2.0 is an integer, and true is no number."""
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[kind])


def _holds(value: Any, keyword: str, asked: Any) -> bool:
    """Whether a value passes a keyword's check; a check for values of another type passes."""
    if keyword == "type":
        return any(is_type(value, kind) for kind in ([asked] if isinstance(asked, str) else asked))
    if keyword == "enum":
        return any(_same(value, each) for each in asked)
    if keyword == "const":
        return _same(value, asked)
    if keyword in ("minimum", "maximum"):
        if not is_type(value, "number"):
            return True
        return bool(value >= asked if keyword == "minimum" else value <= asked)
    if keyword == "pattern":
        return not isinstance(value, str) or re.search(asked, value) is not None
    kind = str if keyword.endswith("Length") else list
    if not isinstance(value, kind):
        return True
    return bool(len(value) >= asked if keyword.startswith("min") else len(value) <= asked)


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _additional(value: Any, asked: Any, properties: dict[str, Any]) -> bool:
    if not isinstance(value, dict) or asked is True:
        return True
    others = [each for key, each in value.items() if key not in properties]
    return not others if asked is False else all(all(checks(each, asked)) for each in others)


def _count(schema: dict[str, Any]) -> int:
    """How many checks a schema has for a value that is not there."""
    return sum(key not in (*NOTES, "properties", "required") for key in schema)
