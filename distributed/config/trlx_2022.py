"""The YAML format of 2022, which trlx and OpenELM's soft prompt example had then, turned into today's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from distributed.errors import UserError

MOVED = {
    ("train", "lr_init"): ("optimizer", "kwargs", "lr"),
    ("train", "learning_rate_init"): ("optimizer", "kwargs", "lr"),
    ("train", "opt_betas"): ("optimizer", "kwargs", "betas"),
    ("train", "opt_eps"): ("optimizer", "kwargs", "eps"),
    ("train", "weight_decay"): ("optimizer", "kwargs", "weight_decay"),
    ("model", "tokenizer_path"): ("tokenizer", "tokenizer_path"),
}
LAST_RATE = (("train", "lr_target"), ("train", "learning_rate_target"))
DROPPED = (("train", "orchestrator"), ("train", "lr_ramp_steps"), ("train", "lr_decay_steps"), ("model", "model_type"))


def translate(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Turns settings of the 2022 format into today's; what is in today's format stays as it is.

    The optimizer of that time was AdamW, and its learning rate went from ``lr_init`` to ``lr_target`` along a cosine
    over ``train.total_steps``.

    Args:
        data: the sections of a file. They are not changed.

    Returns:
        The sections in today's format, which share nothing with ``data``, and for each setting that was translated
        what became of it.

    Raises:
        UserError: a setting is there in both formats.
    """
    sections = copy.deepcopy(dict(data))
    notes: list[str] = []
    first = None
    for old, new in MOVED.items():
        if _has(sections, old):
            value = sections[old[0]].pop(old[1])
            _put(sections, new, value, old)
            first = value if new[-1] == "lr" else first
            notes.append(f"{'.'.join(old)} is {'.'.join(new)}")
    if any("optimizer" in note for note in notes):
        sections["optimizer"].setdefault("name", "adamw")
    for old in LAST_RATE:
        if _has(sections, old):
            notes.append(_schedule(sections, old, first))
    for old in DROPPED:
        if _has(sections, old):
            del sections[old[0]][old[1]]
            notes.append(f"{'.'.join(old)} has no effect")
    return sections, notes


def _schedule(data: dict[str, Any], old: tuple[str, str], first: Any) -> str:
    """Turns the last learning rate into a scheduler, and says so."""
    last = data[old[0]].pop(old[1])
    _put(data, ("scheduler", "name"), "constant" if last == first else "cosine_annealing", old)
    if last == first:
        return f"{'.'.join(old)} is scheduler.name constant"
    _put(data, ("scheduler", "kwargs", "eta_min"), last, old)
    return f"{'.'.join(old)} is scheduler.kwargs.eta_min of cosine_annealing"


def _has(data: Mapping[str, Any], path: tuple[str, str]) -> bool:
    section = data.get(path[0])
    return isinstance(section, dict) and path[1] in section


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any, old: tuple[str, str]) -> None:
    """Sets a value in today's format, unless there is one already."""
    for part in path[:-1]:
        if data.get(part) is None:
            data[part] = {}
        data = data[part]
        if not isinstance(data, dict):
            raise UserError(f"{part}: must be settings of its own, indented below it")
    if path[-1] in data:
        raise UserError(f"{'.'.join(old)} and {'.'.join(path)} say the same in two formats; keep the second")
    data[path[-1]] = value
