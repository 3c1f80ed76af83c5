"""Worlds that programs live in: what a terrain is, and how a program is scored on one.

The words that every world shares are here; a world of its own is a package below, such as `terrains.sodarace`. Nothing
in this package knows how programs are written: it imports neither torch nor the packages that do.
"""

from terrains.base import Attempt, Instruction, Score, Terrain, World

__all__ = ["Attempt", "Instruction", "Score", "Terrain", "World"]
