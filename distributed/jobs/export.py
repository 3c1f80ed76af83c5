"""``terraprompt export``: what is registered, with a progress bar and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from transformers.utils.logging import disable_progress_bar

from distributed.errors import UserError
from distributed.export.exporter import BETTER, FIRST, INCOMPARABLE, NOT_BETTER, UNSCORED, Export, Exporter
from distributed.export.registry import CHAMPION, model_uri
from distributed.infra.numbers import decimals_for, fitness_text, interval_text
from distributed.results.run_folder import open_run

VERDICTS = {
    BETTER: "yes, version {version} had {theirs}",
    FIRST: "yes, the first",
    NOT_BETTER: "no, version {version} has {theirs}",
    INCOMPARABLE: "no, other rules",
    UNSCORED: "no, unscored",
}
MEANINGS = {
    INCOMPARABLE: "other rules: the champion was scored by other rules of the terrain, so the numbers do not compare",
    UNSCORED: "unscored: the champion was registered without a fitness to compare with",
}
STAYS = "such a champion stays until its alias is taken away: mlflow.MlflowClient().delete_registered_model_alias(...)"


def export_run(path: Path, terrains: Sequence[str], best_only: bool, dry_run: bool, console: Console) -> list[Export]:
    """Registers the prompts of a finished run, or of a search's best member, and prints what was done.

    Args:
        path: the run's folder.
        terrains: names of terrains to register; all of the run's for none.
        best_only: leave out what would not be its terrain's champion.
        dry_run: only say what would be done.
        console: where progress and the table go.

    Returns:
        What was registered, or would be.

    Raises:
        UserError: the run, a terrain or the language model is not there, or MLflow complains.
    """
    disable_progress_bar()
    run = open_run(path)
    chosen = run.choose(terrains)
    exporter = Exporter(run)
    plan = [each for each in exporter.plan(chosen) if each.is_champion or not best_only]
    done = plan if dry_run else _register(exporter, plan, console)
    if done:
        console.print(_table(done, f"{run.path} in {exporter.registry.uri}"))
        notes = [MEANINGS[verdict] for verdict in MEANINGS if any(each.verdict == verdict for each in done)]
        for line in [*notes, STAYS] if notes else []:
            console.print(line, highlight=False, soft_wrap=True)
    left_out = len(chosen) - len(done)
    if left_out:
        console.print(f"{left_out} not better than the champion and left out", highlight=False)
    if dry_run:
        console.print("dry run: nothing was written", highlight=False)
    elif done:
        console.print(
            f"to use one: mlflow.pyfunc.load_model({model_uri(done[0].terrain)!r}), or\n"
            f"            terraprompt write --terrain {done[0].terrain!r}",
            highlight=False,
            soft_wrap=True,
        )
    return done


def register_prompts(path: Path, console: Console) -> None:
    """Registers all prompts of a run that has just ended. A failure is reported, and does not fail the run.

    Args:
        path: the run's folder.
        console: where a line tells the result.
    """
    try:
        run = open_run(path)
        exporter = Exporter(run)
        done = list(exporter.export(exporter.plan(run.choose(()))))
    except UserError as error:
        line = f"the prompts are not registered: {error}; for another try: terraprompt export {path}"
    else:
        champions = sum(each.is_champion for each in done)
        line = f"registered {len(done)} prompts in {exporter.registry.uri}, {champions} of them champions"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _register(exporter: Exporter, plan: Sequence[Export], console: Console) -> list[Export]:
    columns = (
        TextColumn("prompts registered"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    done: list[Export] = []
    with Progress(*columns, console=console, disable=not plan) as progress:
        task = progress.add_task("export", total=len(plan))
        try:
            for each in exporter.export(plan):
                done.append(each)
                progress.advance(task)
        except KeyboardInterrupt:
            console.print(f"interrupted after {len(done)} of {len(plan)}; the same command does the rest")
            raise
    return done


def _table(done: Sequence[Export], title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("terrain", overflow="fold", min_width=len("terrain"))
    table.add_column("version", justify="right")
    table.add_column("fitness (95%)", no_wrap=True)
    table.add_column(f"{CHAMPION}?", no_wrap=True)
    for each in done:
        version = f"{each.version or 'new'}{'' if each.is_new else ', as before'}"
        low, high = each.interval
        digits = decimals_for((each.fitness, low, high))
        fitness = f"{each.fitness:.{digits}f} ({interval_text(low, high, digits)})"
        table.add_row(Text(each.terrain), version, fitness, _verdict(each))
    return table


def _verdict(each: Export) -> str:
    champion = each.champion
    if champion is None:
        return VERDICTS[each.verdict]
    if champion.version == each.version:
        return "yes, as before"
    theirs = "" if champion.fitness is None else fitness_text(champion.fitness)
    return VERDICTS[each.verdict].format(version=champion.version, theirs=theirs)
