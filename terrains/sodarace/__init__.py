"""Sodarace: programs build walkers out of joints and muscles, and the way that a walker travels is its fitness.

A program runs in a sandbox (`sandbox`), what it returns is checked (`walker`), placed on a ground (`ground.geometry`)
and simulated (`physics`, `kernel`); `world` puts these together. Grounds have names (`ground.names`): of families
(`ground.families`), of files (`ground.files`), of both on top of each other (`ground.combine`); `ground.sampler` draws
such names. `map_elites.evolution` makes the corpus that a language model learns from: programs drawn from
`programs.styles`, changed by `programs.mutation`, the best of each kind kept in a `map_elites.archive`.
`programs.seeds` holds the classic ones, and `render` draws grounds and walkers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from terrains.sodarace.ground.families import FAMILIES
from terrains.sodarace.ground.geometry import Ground
from terrains.sodarace.ground.names import canonical_name, make_ground, parse_name
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.walker import InvalidWalker, Walker, WalkerLimits, validate_walker

if TYPE_CHECKING:
    from terrains.sodarace.physics import PROGRAM_UNIT, simulate, trace
    from terrains.sodarace.sandbox import Outcome, Sandbox
    from terrains.sodarace.settings import SandboxLimits, WorldConfig
    from terrains.sodarace.world import SodaraceWorld

__all__ = [
    "FAMILIES",
    "PROGRAM_UNIT",
    "SEEDS",
    "Ground",
    "InvalidWalker",
    "Outcome",
    "Sandbox",
    "SandboxLimits",
    "SodaraceWorld",
    "Walker",
    "WalkerLimits",
    "WorldConfig",
    "canonical_name",
    "make_ground",
    "parse_name",
    "simulate",
    "trace",
    "validate_walker",
]


def __getattr__(name: str) -> object:
    """Imports what needs a compiler or an interpreter only where it is asked for: a name of a terrain needs neither."""
    if name in __all__:
        from terrains.sodarace import physics, sandbox, settings, world

        for module in (physics, sandbox, settings, world):
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
