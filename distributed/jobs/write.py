"""``terraprompt write``: programs behind a prompt, scored and drawn; several are unlike one another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers.utils.logging import disable_progress_bar

from distributed.errors import UserError
from distributed.export.registry import PREFIX, registry_name
from distributed.infra.numbers import fitness_text
from distributed.infra.writing import whole_file
from distributed.jobs.drawn_programs import Drawn, different, drawn_by
from distributed.jobs.scoring_world import WorldChoice
from distributed.jobs.writers import Writer, from_registry, from_run
from distributed.report.figures import draw_different
from distributed.report.shows import Show, shown
from distributed.results.best_programs import Found
from terrains.base import World
from terrains.optional import Rendering, fitness_unit
from terrains.render.still import draw_scene

NO_CHOICE = WorldChoice()
REGISTERED = "models:/"
SECONDS_PER_FRAME = 2 / 60
"""Time between two recorded frames."""

BEGINNING = 60
"""Characters of a text in a table."""


def write(
    terrain: str,
    source: str | None,
    seed: int,
    picture: Path | None,
    console: Console,
    choice: WorldChoice = NO_CHOICE,
    count: int = 1,
    kind: str | None = None,
) -> list[Drawn]:
    """Writes programs for a terrain, and says on the console what they score.

    Several are valid and unlike one another: those of the seeds from ``seed`` on, without what came before.

    Args:
        terrain: the terrain's name.
        source: folder of a run, address of a registered model, or None for the terrain's champion.
        seed: decides what is drawn.
        picture: PNG to draw the walkers to; by default named after the terrain, the seed and the number of programs.
        console: where fitness and the picture's path go; programs are returned and not printed.
        choice: the world that scores what a registered model writes; its own if nothing is chosen.
        count: how many programs. Of more than one, as many as there are among 16 times as many that are drawn.
        kind: of program that is wanted of a run's network, such as ``height=low,width=high``.

    Returns:
        The programs, in the order of their seeds; fewer than were asked for where there are no more.

    Raises:
        UserError: the terrain, the run, the registered model or its base model is not there, or several programs were
            asked for and none is valid.
    """
    disable_progress_bar()
    if picture is not None and not picture.absolute().parent.is_dir():
        raise UserError(f"--picture: there is no directory {str(picture.parent)!r}")
    if source is None or source.startswith(REGISTERED):
        if kind is not None:
            raise UserError("--kind: a registered model has prompts and no network; name a run with --from")
        writer = from_registry(terrain, source, choice)
    elif choice.option:
        raise UserError(f"{choice.option}: what a run's prompt writes is scored by its own world; leave it out")
    else:
        writer = from_run(terrain, source, kind)
    if picture is None:
        several = f"-count{count}" if count > 1 else ""
        name = registry_name(writer.terrain.name).removeprefix(PREFIX)
        picture = Path(f"{name}-seed{seed}{several}.png")
    with ExitStack() as held:
        if writer.world is None:
            console.print(f"not scored: {writer.why}", markup=False, highlight=False, soft_wrap=True)
        else:
            held.enter_context(closing(writer.world))
            _compare_rules(writer, writer.world, console)
        if count > 1:
            return _several(writer, seed, count, picture, console)
        [drawn] = drawn_by(writer, [seed])
        if writer.world is not None:
            _show(drawn, writer, writer.world, picture, console)
        return [drawn]


def _compare_rules(writer: Writer, world: World, console: Console) -> None:
    """Says where a prompt was evaluated by other rules than those that score now."""
    name = writer.terrain.name
    if writer.fingerprint not in (None, world.terrain(name).fingerprint):
        console.print(f"the rules of {name} have changed since this prompt was evaluated", highlight=False)


def _failed(drawn: Drawn, terrain: str) -> str:
    """What is wrong with a program, as a line."""
    assert drawn.score is not None
    failure, detail = drawn.score.failure, str(drawn.score.detail)
    return f"fitness 0 on {terrain}: {detail if detail.startswith(f'{failure}:') else f'{failure}: {detail}'}"


def _show(drawn: Drawn, writer: Writer, world: World, picture: Path, console: Console) -> None:
    """Says what a program scores, and draws it where its world can."""
    terrain, score = writer.terrain.name, drawn.score
    assert score is not None
    if not score.valid:
        console.print(_failed(drawn, terrain), markup=False, highlight=False, soft_wrap=True)
        return
    if isinstance(world, Rendering):
        scene = world.scene(terrain, drawn.program, SECONDS_PER_FRAME)
        title = f"{terrain}: {fitness_text(score.fitness)}{fitness_unit(world)} in {scene.seconds:g} s"
        with whole_file(picture) as draft:
            draw_scene(scene, draft, title=title)
    console.print(f"fitness {fitness_text(score.fitness)} on {terrain}", highlight=False)
    if isinstance(world, Rendering):
        console.print(f"picture {picture}", highlight=False, soft_wrap=True)


def _several(writer: Writer, seed: int, count: int, picture: Path, console: Console) -> list[Drawn]:
    """Draws different programs, and shows them in a table and where their world can in a picture."""
    terrain, world = writer.terrain.name, writer.world
    found, tried = different(writer, seed, count)
    if not found:
        raise UserError(f"none of {len(tried)} programs is valid; that of seed {seed}: {_failed(tried[0], terrain)}")
    scenes = _scenes(found, terrain, world)
    console.print(_table(found, writer, bool(scenes)))
    short = f"; {count} were asked for" if len(found) < count else ""
    ones = "1 program" if len(found) == 1 else f"{len(found)} different ones"
    console.print(f"{ones} in {len(tried)} programs on {terrain}{short}", highlight=False, soft_wrap=True)
    if scenes:
        with whole_file(picture) as draft:
            draw_different(scenes, draft, fitness_unit(world), {terrain: f"{terrain}: {len(found)} different walkers"})
        console.print(f"picture {picture}", highlight=False, soft_wrap=True)
    return found


def _scenes(found: Sequence[Drawn], terrain: str, world: World | None) -> list[Show]:
    """What is to be seen of programs."""
    if not isinstance(world, Rendering):
        return []
    told = [Found(terrain, f"seed {each.seed}", each.program, each.score.fitness) for each in found if each.score]
    return [show for each in told if (show := shown(world, each, SECONDS_PER_FRAME)).moving]


def _table(found: Sequence[Drawn], writer: Writer, drawn: bool) -> Table:
    """A row a program: its seed, its fitness, and where there is no picture how its text begins."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("seed", justify="right", no_wrap=True)
    if writer.world is not None:
        table.add_column("fitness", justify="right", no_wrap=True)
    if not drawn:
        table.add_column("text", overflow="fold")
    for each in found:
        text = " ".join(each.program.removeprefix(writer.terrain.instruction).split())
        cut = text if len(text) <= BEGINNING else f"{text[: BEGINNING - 1]}…"
        fitness = [fitness_text(each.score.fitness)] if each.score else []
        table.add_row(str(each.seed), *fitness, *([] if drawn else [Text(cut)]))
    return table
