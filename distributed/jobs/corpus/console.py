"""What ``terraprompt corpus`` shows while it works: a bar on a terminal, a line a generation in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from terrains.sodarace.map_elites.evolution import Evolution


class CorpusDisplay:
    """Shows how far an evolution is. Use it as a context manager: the terminal is restored whatever ends the run.

    Args:
        evolution: the run; asked at every call.
        console: where it goes.
    """

    def __init__(self, evolution: Evolution, console: Console) -> None:
        self._evolution = evolution
        self._console = console
        self._began, self._first = time.monotonic(), _evaluated(evolution)
        columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[rate]}/s"), TimeRemainingColumn())
        # The one column that may wrap: on a narrow terminal the figures take two lines.
        figures = TextColumn("{task.description}", table_column=Column(no_wrap=False))
        self._progress = Progress(*columns, figures, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(
            self._figures(), total=evolution.config.evaluations, completed=self._first, rate="-"
        )

    def __enter__(self) -> CorpusDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def evaluations(self) -> None:
        """Tells of evaluations that have come in."""
        evaluated = _evaluated(self._evolution)
        self._progress.update(self._task, completed=evaluated, rate=f"{self._rate():,.0f}")

    def generation(self) -> None:
        """Tells what a generation came to."""
        if self._console.is_terminal:
            self._progress.update(self._task, description=self._figures())
        else:
            evaluated = f"{self._evolution.evaluated:,} evaluated ({self._rate():,.0f}/s)"
            self._console.print(f"{evaluated}, {self._figures()}", highlight=False, soft_wrap=True)

    def _rate(self) -> float:
        """Evaluations a second of this process."""
        return (_evaluated(self._evolution) - self._first) / max(time.monotonic() - self._began, 1e-3)

    def _figures(self) -> str:
        evolution = self._evolution
        last = evolution.history[-1] if evolution.history else {"coverage": {}, "qd_score": {}}
        coverage = sum(last["coverage"].values()) / max(len(last["coverage"]), 1)
        return (
            f"{evolution.valid:,} valid, {len(evolution.kept):,} kept, "
            f"coverage {coverage:.1%}, QD score {sum(last['qd_score'].values()):,.0f}"
        )


def _evaluated(evolution: Evolution) -> int:
    return evolution.evaluated + len(evolution.under_way)
