"""``terraprompt replay``: any program on any terrain, as a page with a player, a moving picture and a still one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console

from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.errors import UserError, did_you_mean
from distributed.infra.numbers import fitness_text
from distributed.infra.writing import told, whole_file
from distributed.jobs.replay_programs import STDIN, gather
from distributed.jobs.scoring_world import WorldChoice, attempt_of, hand_tokenizer, terrains_of
from distributed.report.figures import draw_stack
from distributed.report.html import render_page, write_page
from distributed.report.player import SCRIPT, arenas_data, by_terrain, walkers_section
from distributed.report.shows import Show, recorded
from distributed.results.best_programs import Found
from distributed.results.run_folder import FinishedRun, open_run
from terrains.base import World
from terrains.errors import WorldError
from terrains.optional import Rendering, fitness_unit
from terrains.render.moving import Lane, animate

SECONDS_PER_FRAME = 0.05
"""Time between two frames, which a GIF can hold exactly."""
MOST = 32
"""Most programs in one replay."""
NO_CHOICE = WorldChoice()


def replay(
    programs: Sequence[str],
    terrains: Sequence[str],
    out: Path,
    seconds: float | None,
    console: Console,
    choice: WorldChoice = NO_CHOICE,
) -> list[Path]:
    """Scores programs again and writes what shows them: their scenes, or their texts where the world has no others.

    Args:
        programs: paths of programs or of runs' folders, or ``-``.
        terrains: names; for none, a run's own for its programs, all of a chosen world, and else ``flat``.
        out: folder, or file whose ending says what is wanted.
        seconds: simulated time; None for the world's default, or the first run's own.
        console: where it is said what was written.
        choice: the world of programs that are no run's; sodarace if nothing is chosen.

    Returns:
        The files written.

    Raises:
        UserError: a program, a terrain, a world or a directory is not there, or a program is no valid walker.
    """
    wanted = _outputs(out)
    runs = {each: open_run(each) for each in dict.fromkeys(programs) if each != STDIN and Path(each).is_dir()}
    config, folder = _settings(choice, list(runs.values()), seconds)
    with closing(choice.make(config, folder)) as world:
        default = (
            () if terrains or len(runs) == len(programs) else _default_terrains(world, config, bool(choice.option))
        )
        found = [_named(world, each) for each in gather(programs, runs, terrains, default)]
        if len(found) > MOST:
            raise UserError(f"{len(found)} programs are too many for one replay; the most is {MOST}")
        order = list(dict.fromkeys(each.terrain for each in found))
        found.sort(key=lambda each: order.index(each.terrain))
        tokenizer = hand_tokenizer(world, config)
        shows = [_show(world, each, tokenizer, console) for each in found]
        unit = fitness_unit(world)
        if not isinstance(world, Rendering):
            wanted = _texts_only(world, shows, wanted, console)
    for path, write in wanted:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write(shows, path, unit)
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return [path for path, _ in wanted]


def _settings(choice: WorldChoice, runs: Sequence[FinishedRun], seconds: float | None) -> tuple[RunConfig, Path | None]:
    """Settings of the world that is chosen, of the first run's, or of sodarace, and the folder with its files."""
    worlds = dict.fromkeys(run.config.terrains.world for run in runs)
    if len(worlds) > 1:
        raise UserError(f"runs of several worlds cannot be replayed together: {', '.join(worlds)}")
    if runs and choice.option:
        raise UserError(f"{choice.option}: the programs of {runs[0].name} are scored by its own world; leave it out")
    config, folder = (runs[0].config, runs[0].path) if runs else choice.settings()
    if seconds:
        options = {**config.terrains.options, "seconds": seconds}
        config = with_settings(config, {"terrains.options": options})
    return config, folder


def _default_terrains(world: World, config: RunConfig, chosen: bool) -> Sequence[str]:
    """Where programs of files go: all terrains of a world that was chosen, ``flat`` where none was."""
    return terrains_of(world, config) if chosen or world.name != "sodarace" else ("flat",)


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


def _named(world: World, found: Found) -> Found:
    """The same with its terrain's canonical name."""
    try:
        return Found(world.terrain(found.terrain).name, found.title, found.program, found.fitness)
    except ValueError as error:
        raise UserError(f"--terrain: {error}") from None


def _show(world: World, found: Found, tokenizer: Any, console: Console) -> Show:
    """A program's scene, under the fitness that it has now. A failure has one too where there is something to see."""
    try:
        [score] = world.score([attempt_of(world.terrain(found.terrain), found.program, tokenizer)])
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
    said = f"{score.failure}: {score.detail}" if score.failure else f"fitness {fitness_text(score.fitness)}"
    console.print(f"{found.title} on {found.terrain}: {said}", markup=False, highlight=False, soft_wrap=True)
    return show


def _write_page(shows: Sequence[Show], path: Path, unit: str) -> None:
    terrains = list(dict.fromkeys(show.terrain for show in shows))
    arenas = by_terrain(shows, terrains)
    what = "walkers" if any(show.moving for show in shows) else "programs"
    title = " and ".join(dict.fromkeys(show.title for show in shows)) if len(shows) < 3 else f"{len(shows)} {what}"
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
