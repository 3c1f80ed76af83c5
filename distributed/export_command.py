"""``terraprompt export``: what is registered, with a progress bar and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from transformers.utils.logging import disable_progress_bar

from distributed.export import BETTER, FIRST, INCOMPARABLE, NOT_BETTER, UNSCORED, Export, Exporter
from distributed.registry import CHAMPION, model_uri
from distributed.run_folder import open_run

VERDICTS = {
    BETTER: "becomes champion, {mine} against {theirs}",
    FIRST: "becomes champion, the first one",
    NOT_BETTER: "not better than the champion, {theirs}",
    INCOMPARABLE: "the champion was scored by other rules and stays",
    UNSCORED: "the champion has no fitness to compare with and stays",
}


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
    table = Table(title=Text(title), title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("version", justify="right")
    table.add_column("fitness", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column(CHAMPION)
    for each in done:
        low, high = each.interval
        version = f"{each.version or 'new'}{'' if each.is_new else ' (as before)'}"
        table.add_row(Text(each.name), version, f"{each.fitness:.1f}", f"{low:.1f} to {high:.1f}", _verdict(each))
    return table


def _verdict(each: Export) -> str:
    champion = each.champion
    if champion is not None and champion.version == each.version:
        return "is champion"
    theirs = (
        f"{champion.fitness:.1f} of version {champion.version}" if champion and champion.fitness is not None else ""
    )
    return VERDICTS[each.verdict].format(mine=f"{each.fitness:.1f}", theirs=theirs)
