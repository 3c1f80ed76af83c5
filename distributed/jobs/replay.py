"""``terraprompt replay``: any program on any terrain, as a page with a player, a moving picture and a still one."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from rich.console import Console

from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint
from distributed.errors import UserError, did_you_mean
from distributed.infra.writing import told, whole_file
from distributed.report.figures import draw_stack
from distributed.report.html import render_page, write_page
from distributed.report.player import SCRIPT, arenas_data, by_terrain, walkers_section
from distributed.report.walkers import WalkerShow, recorded
from distributed.results.best_programs import Found, best_found
from distributed.results.run_folder import open_run
from terrains.base import Attempt
from terrains.sodarace import failures
from terrains.sodarace.render.animation import Lane, animate
from terrains.sodarace.render.walker import finite_frames
from terrains.sodarace.world import SodaraceWorld, WorldConfig

STDIN = "-"
EVERY = 3
"""Simulation steps between two frames: a twentieth of a second, which a GIF can hold exactly."""
MOST = 32
"""Most walkers in one replay."""
LONGEST = 1_000_000
"""Bytes of a file above which it is refused; no program is nearly as long."""
SHOWN = frozenset({None, failures.DID_NOT_MOVE, failures.UNSTABLE})
"""Failures whose walkers are shown all the same; None for no failure."""


def replay(
    programs: Sequence[str], terrains: Sequence[str], out: Path, seconds: float | None, console: Console
) -> list[Path]:
    """Simulates programs and writes what shows their walkers.

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
    found, own_seconds = _gather(programs, terrains)
    if len(found) > MOST:
        raise UserError(f"{len(found)} walkers are too many for one replay; the most is {MOST}")
    seconds = seconds or own_seconds
    with SodaraceWorld(WorldConfig(seconds=seconds) if seconds else None) as world:
        found = [_named(world, each) for each in found]
        order = list(dict.fromkeys(each.terrain for each in found))
        found.sort(key=lambda each: order.index(each.terrain))
        shows = [_show(world, each, console) for each in found]
        seconds = world.config.seconds
    for path, write in wanted:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write(shows, path, seconds)
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return [path for path, _ in wanted]


Writer = Callable[[Sequence[WalkerShow], Path, float], object]


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


def _gather(programs: Sequence[str], terrains: Sequence[str]) -> tuple[list[Found], float | None]:
    """Every program on each of its terrains, in order, and the simulated time of the first run among them."""
    found: list[Found] = []
    seconds = None
    names = Counter(Path(each).name for each in dict.fromkeys(programs))
    for given in dict.fromkeys(programs):
        if given != STDIN and Path(given).is_dir():
            of_run, own_seconds = _of_run(given, terrains)
            found += of_run
            seconds = seconds or own_seconds
            continue
        title = "standard input" if given == STDIN else given if names[Path(given).name] > 1 else Path(given).name
        text = _read(given)
        found += [Found(name, _printable(title), text, 0.0) for name in dict.fromkeys(terrains) or ("flat",)]
    return found, seconds


def _of_run(folder: str, terrains: Sequence[str]) -> tuple[list[Found], float]:
    """A run's best programs on their own terrains."""
    run = open_run(folder)
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
        raise UserError(f"no program of {folder!r} moves on {', '.join(chosen)}")
    return kept, run.config.terrains.seconds


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


def _named(world: SodaraceWorld, found: Found) -> Found:
    """The same with its terrain's canonical name."""
    try:
        return Found(world.terrain(found.terrain).name, found.title, found.program, found.fitness)
    except ValueError as error:
        raise UserError(f"--terrain: {error}") from None


def _show(world: SodaraceWorld, found: Found, console: Console) -> WalkerShow:
    """A walker's recording, under the fitness that it has now."""
    [score] = world.score([Attempt(found.terrain, found.program)])
    if score.failure not in SHOWN:
        raise UserError(f"{found.title} on {found.terrain}: {score.failure}: {score.detail}")
    show = recorded(world, Found(found.terrain, found.title, found.program, score.fitness), EVERY)
    assert show.frames is not None
    try:
        finite_frames(show.frames)
    except ValueError as error:
        raise UserError(f"{found.title} on {found.terrain}: {score.failure}: {error}") from None
    said = f"{score.failure}: {score.detail}" if score.failure else f"fitness {score.fitness:.1f}"
    console.print(f"{found.title} on {found.terrain}: {said}", markup=False, highlight=False, soft_wrap=True)
    return show


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _write_page(shows: Sequence[WalkerShow], path: Path, seconds: float) -> None:
    terrains = list(dict.fromkeys(show.terrain for show in shows))
    arenas = by_terrain(shows, terrains)
    title = " and ".join(dict.fromkeys(show.title for show in shows)) if len(shows) < 3 else f"{len(shows)} walkers"
    text = render_page(
        "replay.html",
        title,
        [SCRIPT],
        {"arenas": arenas_data(arenas)},
        note=escape(f"{seconds:g} simulated seconds on {', '.join(terrains)}; distances are in world units."),
        walkers=walkers_section(arenas, terrains, "", "lanes"),
    )
    write_page(path, text)


def _write_moving(shows: Sequence[WalkerShow], path: Path, seconds: float) -> None:
    lanes = []
    for show in shows:
        assert show.frames is not None and show.muscles is not None and show.rigid is not None and show.ground
        lanes.append(Lane(f"{show.title} on {show.terrain}", show.frames, show.muscles, show.rigid, show.ground))
    with whole_file(path) as draft:
        animate(lanes, draft, shows[0].seconds_per_frame)


def _write_still(shows: Sequence[WalkerShow], path: Path, seconds: float) -> None:
    with whole_file(path) as draft:
        draw_stack(shows, draft)


_WRITERS: dict[str, Writer] = {
    ".html": _write_page,
    ".gif": _write_moving,
    ".apng": _write_moving,
    ".png": _write_still,
    ".svg": _write_still,
}
