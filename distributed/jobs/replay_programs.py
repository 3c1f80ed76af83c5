"""The programs that ``replay`` is given: files, standard input, and folders of runs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint
from distributed.errors import UserError, did_you_mean
from distributed.results.best_programs import Found, best_found
from distributed.results.run_folder import FinishedRun

STDIN = "-"
LONGEST = 1_000_000
"""Bytes of a file above which it is refused; no program is nearly as long."""


def gather(
    programs: Sequence[str], runs: Mapping[str, FinishedRun], terrains: Sequence[str], default: Sequence[str]
) -> list[Found]:
    """Returns every program on each of its terrains, in order.

    Args:
        programs: paths of programs or of runs' folders, or ``-``.
        runs: those of them that are runs.
        terrains: names that were asked for.
        default: where programs of files go if none was.

    Raises:
        UserError: a file or a run cannot be read, or has no such program.
    """
    found: list[Found] = []
    names = Counter(Path(each).name for each in dict.fromkeys(programs))
    for given in dict.fromkeys(programs):
        if given in runs:
            found += _of_run(runs[given], given, terrains)
            continue
        title = "standard input" if given == STDIN else given if names[Path(given).name] > 1 else Path(given).name
        text = _read(given)
        found += [Found(name, _printable(title), text, 0.0) for name in dict.fromkeys(terrains) or default]
    return found


def _of_run(run: FinishedRun, folder: str, terrains: Sequence[str]) -> list[Found]:
    """A run's best programs on their own terrains."""
    chosen = run.choose(terrains)
    try:
        newest = latest(run.path)
        if newest is None:
            raise UserError(f"{folder!r} has no checkpoint left, and its programs are in there")
        state = load_checkpoint(newest).state["loop"]
        found = best_found(state["terrains"], state["untuned"], state["tuned"])
    except (CheckpointError, KeyError, TypeError) as error:
        raise UserError(f"cannot read the programs of {folder!r}: {error}") from None
    several = f"{run.name}, "
    kept = [Found(f.terrain, _printable(several + f.title), f.program, f.fitness) for f in found if f.terrain in chosen]
    if not kept:
        raise UserError(f"no program of {folder!r} is valid on {', '.join(chosen)}")
    return kept


def _read(given: str) -> str:
    """The text of a program."""
    path = Path(given)
    try:
        data = sys.stdin.buffer.read(LONGEST + 1) if given == STDIN else _head(path)
        text = data.decode()
    except FileNotFoundError:
        near = [str(each) for each in path.parent.glob("*")] if path.parent.is_dir() else []
        raise UserError(f"there is no program {given!r}{did_you_mean(given, near)}") from None
    except OSError as error:
        raise UserError(f"cannot read {given!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{given!r} is no program: it is not text in UTF-8") from None
    if len(data) > LONGEST:
        raise UserError(f"{given!r} is no program: it is larger than {LONGEST:,} bytes")
    return text


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST + 1)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
