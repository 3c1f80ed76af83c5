"""Passwords and keys among settings, which are told by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

SECRET = re.compile(
    r"(^|[_\-.])(api_?key|(access|private|secret)_?key|(access|api|auth|bearer|hf)_?token|token|password|passwd|secret)$",
    re.IGNORECASE,
)
"""Names of settings whose values no store is sent."""

HIDDEN = "***"
"""What stands in the place of such a value."""


def without_secrets(value: Any) -> Any:
    """Returns settings with ``***`` in the place of passwords and keys, such as those that a reward asks a server with.

    Others may read what a store has.
    """
    if isinstance(value, Mapping):
        return {key: HIDDEN if _is_secret(str(key), each) else without_secrets(each) for key, each in value.items()}
    return [without_secrets(each) for each in value] if isinstance(value, list | tuple) else value


def secrets_in(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Goes through the passwords and keys among settings.

    Args:
        value: settings.
        name: what they are called together.

    Yields:
        The full name of each, and its value.
    """
    if isinstance(value, Mapping | list | tuple):
        for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            full = f"{name}.{key}" if name else str(key)
            if _is_secret(str(key), each):
                yield full, each
            else:
                yield from secrets_in(each, full)


def _is_secret(name: str, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and SECRET.search(name) is not None
