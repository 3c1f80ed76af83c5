"""The options of ``terraprompt pretrain`` about hints: what is wrong with them, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence

from distributed.errors import UserError, did_you_mean
from softprompt.pretrain.prefixes import PrefixConfig
from terrains.sodarace.map_elites.corpus import CorpusProgram
from terrains.sodarace.map_elites.hints import HINTS, hints_of


def check_hints(hints: str | None, hinted: float | None) -> None:
    """Looks at ``--hints`` and ``--hinted``, before any file is read.

    Raises:
        UserError: there are no such hints, or a share of hints without hints.
    """
    if hints is not None and hints not in HINTS:
        options = ", ".join(HINTS)
        raise UserError(f"--hints: there is no {hints}{did_you_mean(hints, HINTS) or f'; there are {options}'}")
    if hinted is not None and hints is None:
        raise UserError(f"--hinted: say by --hints which hints: {', '.join(HINTS)}")


def build_hints(hints: str | None, programs: Sequence[CorpusProgram], seed: int) -> list[str] | None:
    """Returns a hint for each program, all of them from these programs; None without ``--hints``.

    Raises:
        UserError: the corpus lacks what the hints are made of.
    """
    if hints is None:
        return None
    try:
        return hints_of(hints, programs, seed)
    except ValueError as error:
        raise UserError(f"--hints {hints}: {error}; `terraprompt corpus` makes a corpus that has it") from None


def hinted_share(prefixes: PrefixConfig, hinted: float | None) -> float:
    """Share of steps behind hints: what was asked for, or half of those that would tune prefixes."""
    return round((1 - prefixes.none - prefixes.untrained) / 2, 4) if hinted is None else hinted
