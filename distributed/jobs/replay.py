"""``terraprompt replay``: any program on any terrain, as a page with a player, a moving picture and a still one."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from html import escape
from pathlib import Path

from rich.console import Console

from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint
from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.config.worlds import make_world
from distributed.errors import UserError, did_you_mean
from distributed.infra.writing import told, whole_file
from distributed.report.figures import draw_stack
from distributed.report.html import render_page, write_page
from distributed.report.player import SCRIPT, arenas_data, by_terrain, walkers_section
from distributed.report.shows import Show, recorded
from distributed.results.best_programs import Found, best_found
from distributed.results.run_folder import FinishedRun, open_run
from terrains.base import Attempt, World
from terrains.errors import WorldError
from terrains.optional import Rendering, fitness_unit
from terrains.render.moving import Lane, animate

STDIN = "-"
SECONDS_PER_FRAME = 0.05
"""Time between two frames, which a GIF can hold exactly."""
MOST = 32
"""Most walkers in one replay."""
LONGEST = 1_000_000
"""Bytes of a file above which it is refused; no program is nearly as long."""


def replay(
    programs: Sequence[str], terrains: Sequence[str], out: Path, seconds: float | None, console: Console
) -> list[Path]:
    """Scores programs again and writes what shows them: their scenes, or their texts where the world has no others.

    Args:
        programs: paths of programs or of runs' folders, or ``-``.
        terrains: names; for none, ``flat``, and a run's own for its programs.
        out: folder, or file whose ending says what is wanted.
        seconds: simulated time; None for the world's default, or the first run's own.
        console: where it is said what was written.

    Returns:
        The files written.

    Raises:
        UserError: a program, a terrain or a directory is not there, or a program is no valid walker.
    """
    wanted = _outputs(out)
    found, runs = _gather(programs, terrains)
    if len(found) > MOST:
        raise UserError(f"{len(found)} walkers are too many for one replay; the most is {MOST}")
    with closing(_world(runs, seconds)) as world:
        found = [_named(world, each) for each in found]
        order = list(dict.fromkeys(each.terrain for each in found))
        found.sort(key=lambda each: order.index(each.terrain))
        shows = [_show(world, each, console) for each in found]
        unit = fitness_unit(world)
        if not isinstance(world, Rendering):
            wanted = _texts_only(world, shows, wanted, console)
    for path, write in wanted:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write(shows, path, unit)
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return [path for path, _ in wanted]


def _world(runs: Sequence[FinishedRun], seconds: float | None) -> World:
    """The world of the first run, or sodarace; the time that is asked for is an option of it."""
    first = runs[0] if runs else None
    config = first.config if first else RunConfig()
    worlds = dict.fromkeys(run.config.terrains.world for run in runs)
    if len(worlds) > 1:
        raise UserError(f"runs of several worlds cannot be replayed together: {', '.join(worlds)}")
    if seconds:
        options = {**config.terrains.options, "seconds": seconds}
        config = with_settings(config, {"terrains.options": options})
    return make_world(config, first.path if first else None)


def _texts_only(world: World, shows: Sequence[Show], wanted: list[Output], console: Console) -> list[Output]:
    """Says the texts on the console; returns those of the wanted files that can hold texts."""
    pages = [(path, write) for path, write in wanted if path.suffix.lower() == ".html"]
    if not pages:
        raise UserError(f"--out: the programs of {world.name} are texts, without pictures; name a folder or a .html")
    console.print(f"the programs of {world.name} are texts, and shown as such", highlight=False, soft_wrap=True)
    for show in shows:
        console.print(f"{show.title} on {show.terrain}:\n{show.program}", markup=False, highlight=False, soft_wrap=True)
    return pages


Writer = Callable[[Sequence[Show], Path, str], object]
Output = tuple[Path, Writer]


def _outputs(out: Path) -> list[tuple[Path, Writer]]:
    """The files to write, and what writes each."""
    if out.is_dir() or not out.suffix:
        if out.exists() and not out.is_dir():
            raise UserError(f"--out: {str(out)!r} is a file and not a folder; a file's ending says what to write")
        return [(out / f"replay{ending}", _WRITERS[ending]) for ending in (".html", ".gif", ".png")]
    ending = out.suffix.lower()
    if ending not in _WRITERS:
        raise UserError(
            f"--out: nothing is written to {out.suffix!r}{did_you_mean(ending, _WRITERS)}; there are "
            f"{', '.join(_WRITERS)}"
        )
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out: there is no directory {str(out.parent)!r}")
    return [(out, _WRITERS[ending])]


def _gather(programs: Sequence[str], terrains: Sequence[str]) -> tuple[list[Found], list[FinishedRun]]:
    """Every program on each of its terrains, in order, and the runs among them."""
    found: list[Found] = []
    runs: list[FinishedRun] = []
    names = Counter(Path(each).name for each in dict.fromkeys(programs))
    for given in dict.fromkeys(programs):
        if given != STDIN and Path(given).is_dir():
            run = open_run(given)
            runs.append(run)
            found += _of_run(run, given, terrains)
            continue
        title = "standard input" if given == STDIN else given if names[Path(given).name] > 1 else Path(given).name
        text = _read(given)
        found += [Found(name, _printable(title), text, 0.0) for name in dict.fromkeys(terrains) or ("flat",)]
    return found, runs


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


def _named(world: World, found: Found) -> Found:
    """The same with its terrain's canonical name."""
    try:
        return Found(world.terrain(found.terrain).name, found.title, found.program, found.fitness)
    except ValueError as error:
        raise UserError(f"--terrain: {error}") from None


def _show(world: World, found: Found, console: Console) -> Show:
    """A program's scene, under the fitness that it has now. A failure has one too where there is something to see."""
    try:
        [score] = world.score([Attempt(found.terrain, found.program)])
    except WorldError as error:
        raise UserError(str(error)) from None
    detail = score.detail
    try:
        show = recorded(world, Found(found.terrain, found.title, found.program, score.fitness), SECONDS_PER_FRAME)
        if show.scene is not None:
            show.scene.finite_points()
    except ValueError as error:
        detail = detail or str(error)
        raise UserError(f"{found.title} on {found.terrain}: {score.failure}: {detail}") from None
    said = f"{score.failure}: {score.detail}" if score.failure else f"fitness {score.fitness:.1f}"
    console.print(f"{found.title} on {found.terrain}: {said}", markup=False, highlight=False, soft_wrap=True)
    return show


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _write_page(shows: Sequence[Show], path: Path, unit: str) -> None:
    terrains = list(dict.fromkeys(show.terrain for show in shows))
    arenas = by_terrain(shows, terrains)
    title = " and ".join(dict.fromkeys(show.title for show in shows)) if len(shows) < 3 else f"{len(shows)} walkers"
    text = render_page(
        "replay.html",
        title,
        [SCRIPT],
        {"arenas": arenas_data(arenas)},
        note=escape(_note(shows, terrains)),
        walkers=walkers_section(arenas, terrains, "", "lanes"),
    )
    write_page(path, text)


def _note(shows: Sequence[Show], terrains: Sequence[str]) -> str:
    """One line on what the page shows."""
    scenes = [show.scene for show in shows if show.scene is not None]
    if not scenes:
        return f"Texts on {', '.join(terrains)}."
    return f"{scenes[0].seconds:g} simulated seconds on {', '.join(terrains)}; distances are in world units."


def _write_moving(shows: Sequence[Show], path: Path, unit: str) -> None:
    scenes = [(f"{show.title} on {show.terrain}", show.scene) for show in shows if show.scene is not None]
    with whole_file(path) as draft:
        animate([Lane(title, scene) for title, scene in scenes], draft, scenes[0][1].seconds_per_frame)


def _write_still(shows: Sequence[Show], path: Path, unit: str) -> None:
    with whole_file(path) as draft:
        draw_stack(shows, draft, unit)


_WRITERS: dict[str, Writer] = {
    ".html": _write_page,
    ".gif": _write_moving,
    ".apng": _write_moving,
    ".png": _write_still,
    ".svg": _write_still,
}
