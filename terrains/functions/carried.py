"""What the world of reward functions read of files: data and code, for machines and times that have no such files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from terrains.base import Instruction, Terrain
from terrains.errors import WorldError


@dataclass(frozen=True)
class Carried:
    """What a world read of files, for machines that have no such files.

    Attributes:
        terrains: the terrains, by name.
        texts: what the functions' files say, by path.
        given: what functions say that were given in Python, by the names that settings call them; it is never run.
    """

    terrains: Mapping[str, Terrain] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON has it; see `of_json`."""
        terrains = {name: _as_json(each) for name, each in self.terrains.items()}
        given = {"given": dict(self.given)} if self.given else {}
        return {"terrains": terrains, "texts": dict(self.texts), **given}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Carried:
        """Makes it of what `as_json` returned.

        Raises:
            WorldError: it is something else.
        """
        try:
            terrains = {name: _of_json(name, each) for name, each in kept["terrains"].items()}
            return cls(terrains, dict(kept["texts"]), dict(kept.get("given", {})))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise WorldError("what a run kept of its rewards and data is damaged") from None


def _as_json(terrain: Terrain) -> dict[str, Any]:
    train, evaluation = (
        [[each.text, dict(each.metadata)] for each in some]
        for some in (terrain.instructions, terrain.eval_instructions)
    )
    return {"fingerprint": terrain.fingerprint, "instructions": train, "eval_instructions": evaluation}


def _of_json(name: str, kept: Mapping[str, Any]) -> Terrain:
    train, evaluation = (
        tuple(Instruction(text, metadata) for text, metadata in kept[each])
        for each in ("instructions", "eval_instructions")
    )
    return Terrain(name, fingerprint=kept["fingerprint"], instructions=train, eval_instructions=evaluation)
