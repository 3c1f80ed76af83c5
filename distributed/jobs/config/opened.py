"""A file of settings in any of the formats, as it is understood, with what became of each thing that it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed.config.load import Understood, understand
from distributed.config.trlx_programs import read_program
from distributed.config.trlx_sweep import SearchSections, search_sections
from distributed.errors import UserError
from terrains.loading import expanded

RUN_SETTINGS = "config.json"


@dataclass(frozen=True)
class Opened:
    """A file, or a sweep and its base, as it is understood.

    Attributes:
        source: the file.
        format: what it is written in, in words.
        understood: its settings in this project's format, which are not checked yet.
        notes: what became of things that it says, a line each.
        ignored: things that it says to no effect, a line each; there may be more once it is checked.
    """

    source: str
    format: str
    understood: Understood
    notes: tuple[str, ...]
    ignored: tuple[str, ...]


def opened(file: Path, sweep: Path | None = None, overrides: Sequence[str] = ()) -> Opened:
    """Reads a file.

    Args:
        file: YAML or JSON in any format that a run or a search takes, a program for trlx, or the directory of a run.
        sweep: a sweep of trlx's whose runs have the settings of the file.
        overrides: settings that come before those of the file.

    Raises:
        UserError: there is no such file, or it is of another kind; the message says what it is.
    """
    inside = expanded(file) / RUN_SETTINGS
    if expanded(file).is_dir() and not inside.is_file():
        raise UserError(f"{str(file)!r} is a directory, and no run: it has no {RUN_SETTINGS}")
    unread: list[str] = []
    if file.suffix == ".py":
        sections, unread = read_program(expanded(file))
        found = SearchSections(sections, str(file))
    else:
        found = search_sections(inside if inside.is_file() else file, sweep)
    understood = understand(found.sections, overrides, found.source)
    every = (*understood.from_2022, *understood.notes)
    return Opened(
        found.source,
        _format(found, understood, file),
        understood,
        (*found.notes, *(str(note) for note in every if note.now)),
        (*unread, *(str(note) for note in every if not note.now)),
    )


def _format(found: SearchSections, understood: Understood, file: Path) -> str:
    if file.suffix == ".py":
        return "a program for trlx"
    if found.sweep:
        return "a sweep of trlx's"
    return "trlx's format of 2022" if understood.from_2022 else "today's format"
