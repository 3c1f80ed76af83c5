"""``terraprompt config check``: all that is wrong with a file at once, and what of it has no effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from distributed.config import Range, RunConfig
from distributed.config.describe import settings
from distributed.config.load import kept_secrets, problems, validated, with_settings, without_effect
from distributed.config.unsupported import check_terrain_names, untrainable
from distributed.config.worlds import options_of, source_of_world, with_whole_paths
from distributed.errors import UserError, did_you_mean
from distributed.jobs.config.opened import opened
from terrains.registry import problems_of


class Findings(NamedTuple):
    """What a check found.

    Attributes:
        format: what the file is written in, in words; empty where it is of another kind.
        notes: what became of things that it says.
        ignored: what it says to no effect.
        warnings: what has an effect that may not be meant.
        problems: what is wrong with it.
    """

    format: str
    notes: tuple[str, ...]
    ignored: tuple[str, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


def findings(file: Path, sweep: Path | None = None, overrides: Sequence[str] = ()) -> Findings:
    """Checks a file as far as that can be done without its language model and its data; see `opened` for arguments."""
    try:
        found = opened(file, sweep, overrides)
    except UserError as error:
        return Findings("", (), (), (), (str(error).removeprefix(f"{file}: "),))
    sections = found.understood.sections
    wrong = tuple(f"{name}: {words}" if name else words for name, words in problems(sections).items())
    if wrong:
        return Findings(found.format, found.notes, found.ignored, (), wrong)
    config = validated(sections)
    ignored = (*found.ignored, *map(str, without_effect(config)))
    wrong = (*untrainable(config), *_world(config, file), *_terrains(config), *_space(config))
    return Findings(found.format, found.notes, ignored, tuple(map(str, kept_secrets(config))), wrong)


def as_text(file: Path, found: Findings) -> str:
    """Returns findings as lines: how the file is read, what has no effect, what is wrong, and how much that is."""
    lines = [f"{file}: {found.format or 'no configuration of a run'}"]
    titles = {"read as": found.notes, "ignored": found.ignored, "warning": found.warnings, "problem": found.problems}
    lines += [f"  {title}: {each}" for title, said in titles.items() for each in said]
    count = len(found.problems)
    lines.append(f"{count} problem{'s' if count > 1 else ''}" if count else "no problem")
    return "\n".join(lines)


def _world(config: RunConfig, file: Path) -> Iterator[str]:
    """A world that does not exist, settings that it does not take, functions that are not there.

    Its files are run, as by training. A run's directory has copies of them, which are not looked at.
    """
    folder = file if file.is_dir() else None
    try:
        whole = with_whole_paths(config, (folder or file.parent).absolute())
        source = source_of_world(whole, folder)
        options = options_of(whole, source)
        yield from (f"terrains.world: {each}" for each in ([] if folder else problems_of(source, options)))
    except UserError as error:
        yield str(error)


def _terrains(config: RunConfig) -> Iterator[str]:
    """Terrains that do not exist."""
    for name in config.terrains.names:
        try:
            check_terrain_names([name], "terrains.names", config.terrains.world)
        except UserError as error:
            yield str(error)


def _space(config: RunConfig) -> Iterator[str]:
    """Settings of a search that do not exist, and values that no run takes."""
    if config.search.space == RunConfig().search.space:
        return
    known = [each.name for each in settings(RunConfig)]
    for name, choices in config.search.space.items():
        if name not in known:
            yield f"search.space: there is no setting {name}{did_you_mean(name, known)}"
            continue
        for value in (choices.low, choices.high) if isinstance(choices, Range) else choices:
            if isinstance(choices, Range) and _is_whole(name):
                continue
            try:
                with_settings(config, {name: value})
            except UserError as error:
                yield f"search.space.{name}: {error}"


def _is_whole(name: str) -> bool:
    """Whether a setting is a whole number, which a range's ends are rounded to."""
    value = next(each.default for each in settings(RunConfig) if each.name == name)
    return isinstance(value, int)
