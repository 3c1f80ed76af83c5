"""Worlds that programs live in: what a terrain is, and how a program is scored on one.

The words that every world shares are here; a world of its own is a package below, such as `terrains.sodarace`. Nothing
in this package knows how programs are written: it imports neither torch nor the packages that do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from terrains.base import Attempt, Instruction, Score, Terrain, World

__all__ = ["Attempt", "Instruction", "Score", "Terrain", "World"]


def __getattr__(name: str) -> Any:
    """The words, imported when they are used: commands that need none of them do not wait for numpy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from terrains import base

    return getattr(base, name)
