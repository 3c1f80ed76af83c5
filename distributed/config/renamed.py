"""Settings that had another name in an earlier version: read under the old one too, so that old files still load."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("terraprompt")

RENAMED = {"warm_start.born_from_elite": "warm_start.init_from_elite"}
"""By the old full name, the one that took its place in the same section."""

SHORT = {"terrains.seconds": "terrains.options.seconds"}
"""By the short full name, the one that it stands for."""


def current_name(name: str) -> str:
    """Returns the full name that a setting has now, and says so in the log where that is another one."""
    if name not in RENAMED:
        return SHORT.get(name, name)
    logger.warning("%s is now %s", name, RENAMED[name])
    return RENAMED[name]


def with_current_names(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Returns sections in which every setting has the name that it has now; what is given is not changed.

    Raises:
        ValueError: a setting is there under both of its names.
    """
    found = _written_out(sections)
    for old, new in RENAMED.items():
        section, _, key = old.partition(".")
        content = found.get(section)
        if not isinstance(content, Mapping) or key not in content:
            continue
        new_key = new.partition(".")[2]
        if new_key in content:
            raise ValueError(f"{old} is the old name of {new}, which is there too; keep the second")
        current_name(old)
        found[section] = {new_key if name == key else name: value for name, value in content.items()}
    return found


def _written_out(sections: Mapping[str, Any]) -> dict[str, Any]:
    """The same without short names."""
    terrains = sections.get("terrains")
    if not isinstance(terrains, Mapping) or "seconds" not in terrains:
        return dict(sections)
    options = terrains.get("options") or {}
    if not isinstance(options, Mapping):
        return dict(sections)
    if "seconds" in options:
        raise ValueError("terrains.seconds is short for terrains.options.seconds, which is there too; keep one of them")
    rest = {name: value for name, value in terrains.items() if name != "seconds"}
    return {**sections, "terrains": {**rest, "options": {**options, "seconds": terrains["seconds"]}}}
