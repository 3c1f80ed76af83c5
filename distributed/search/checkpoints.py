"""The members' checkpoints in Tune's folders: the best of them, and what is left where one is damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint
from distributed.errors import UserError
from distributed.search.objective import FITNESS, rank

PATTERN, EXPERIMENT = "checkpoint_*", "experiment_state-*.json"


@dataclass(frozen=True)
class Found:
    """A member's state, and what was passed over to find it.

    Attributes:
        state: what `Member.state_dict` returned, None where nothing could be read.
        damaged: names of checkpoints that could not be read, such as ``member-03/checkpoint_000004``.
    """

    state: dict[str, Any] | None
    damaged: tuple[str, ...] = ()


def last_good(folder: Path) -> Found:
    """The state in a folder of Tune's or, where that is damaged or gone, in the latest one before it beside it."""
    earlier = sorted((each for each in folder.parent.glob(PATTERN) if each.name < folder.name), reverse=True)
    damaged: list[str] = []
    for each in (folder, *earlier):
        try:
            return Found(_state(each), tuple(damaged))
        except CheckpointError:
            damaged.append(f"{each.parent.name}/{each.name}")
    return Found(None, tuple(damaged))


def best_of(tune: Path, objectives: Sequence[str] = (FITNESS,)) -> Found:
    """The state that was best on the evaluation set at the end of a round, of all members and rounds.

    Args:
        tune: Tune's folder.
        objectives: what they are compared by, as ``search.objective`` has it.
    """
    best: tuple[tuple[float, ...], Path] | None = None
    damaged = []
    for folder in sorted(tune.glob(f"member-*/{PATTERN}")):
        try:
            reached = rank(_state(folder), objectives)
        except CheckpointError:
            damaged.append(f"{folder.parent.name}/{folder.name}")
            continue
        if best is None or reached > best[0]:
            best = reached, folder
    return Found(_state(best[1]) if best else None, tuple(damaged))


def check_restorable(tune: Path) -> None:
    """Checks Tune's own record of its trials: Tune would begin them all again where that file is damaged.

    Raises:
        UserError: it does not; the message names the file.
    """
    states = sorted(tune.glob(EXPERIMENT))
    try:
        json.loads(states[-1].read_text())
    except IndexError:
        raise UserError(f"--resume: {tune} has no {EXPERIMENT}, without which its members are lost") from None
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        older = f"; without it the search goes on from {states[-2].name}" if len(states) > 1 else ""
        raise UserError(f"--resume: {states[-1]} is damaged: {why}{older}") from None


def _state(folder: Path) -> dict[str, Any]:
    """What was saved in a folder of Tune's; raises CheckpointError where it cannot be read."""
    found = latest(folder)
    if found is None:
        raise CheckpointError(f"there is no checkpoint in {folder}")
    state: dict[str, Any] = load_checkpoint(found).state
    return state
