"""What a person sees while a run goes on: a live table on a terminal, plain lines in a job's log."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from distributed.infra.numbers import fitness_text

TREND_LENGTH = 24  # steps that the trend column looks back
LOG_WIDTH = 1000  # characters of a log's line; rich would take 80 and cut tables to it
PLAIN_EVERY = 30.0  # seconds between two plain lines of a phase that has no steps
MANY = 8  # terrains above which a log's line names the best and the worst only
AROUND = 4  # lines of a terminal that the progress bar, the headings, the means and what is left out take


def make_console() -> Console:
    """Standard output, as wide as the terminal or the notebook; the lines of a log stay whole, however long."""
    console = Console()
    return console if console.is_terminal or console.is_jupyter else Console(width=LOG_WIDTH)


def can_be_live(console: Console) -> bool:
    """Whether what is written to a console can change afterwards: on terminals, and in notebooks with widgets."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.is_terminal


class Display:
    """Shows phases, steps and messages. Use it as a context manager: the terminal is restored whatever ends the run.

    Metrics of a step are a flat mapping: ``step``, ``seconds``, and per terrain ``fitness/<terrain>`` (mean),
    ``best/<terrain>``, ``valid/<terrain>`` and ``unique/<terrain>``, the last two in [0, 1]. What is missing is left
    out, so that a step may report some terrains only.
    """

    def __init__(self, terrains: Sequence[str], console: Console | None = None, live: bool | None = None) -> None:
        """Prepares a display; nothing is printed before it is entered.

        Args:
            terrains: names of the run's terrains, in the order to show them.
            console: where to write; by default standard output.
            live: force the live table on or off; by default it is on where `can_be_live`.
        """
        self.terrains = list(terrains)
        self.console = console or Console()
        self._latest: dict[str, Any] = {}
        self._best: dict[str, float] = {}
        self._trend: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=TREND_LENGTH))
        self._phase, self._total, self._done = "", 0, 0
        self._said_at = -math.inf
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            expand=True,
        )
        self._task: TaskID | None = None
        wants_live = can_be_live(self.console) if live is None else live
        self._live = (
            Live(get_renderable=self._render, console=self.console, refresh_per_second=4) if wants_live else None
        )

    def __enter__(self) -> Display:
        """Starts the live table where there is one."""
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last table on the screen and gives the cursor back; an exception, Ctrl-C too, passes through."""
        self.close()
        if kind is KeyboardInterrupt:
            self._print(f"interrupted during {self._phase or 'start-up'}, after {self._done} of {self._total}")

    def close(self) -> None:
        """Ends the live table, which stays as it was last, so that what is printed next comes below it."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self.console.print()

    def phase(self, name: str, total: int) -> None:
        """Begins a phase, such as the warm start, of ``total`` units (steps, or whatever ``advance`` counts)."""
        self._phase, self._total, self._done = name, total, 0
        self._said_at = time.monotonic()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total)
        if self._live is None:
            self._print(f"{name}: {total} to do")

    def advance(self, n: int = 1) -> None:
        """Moves the phase's bar by ``n`` units, in a phase that has no steps. A log gets a line now and then."""
        self._move(n)
        now = time.monotonic()
        if self._live is None and (self._done >= self._total or now - self._said_at >= PLAIN_EVERY):
            self._said_at = now
            self._print(f"{self._phase} {self._done}/{self._total}")

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Shows the metrics of a finished step and moves the phase's bar by one."""
        self._move(1)
        self._latest.update(metrics)
        for terrain in self.terrains:
            mean = metrics.get(f"fitness/{terrain}")
            if mean is not None:
                self._trend[terrain].append(float(mean))
            best = metrics.get(f"best/{terrain}")
            if best is not None:
                self._best[terrain] = max(self._best.get(terrain, -math.inf), float(best))
        if self._live is None:
            self._print(plain_line(metrics, self.terrains, self._done, self._total))

    def message(self, text: str) -> None:
        """Prints a line above the live table, or as it comes in a log. Square brackets are text, not markup."""
        self._print(text)

    def _move(self, n: int) -> None:
        self._done += n
        if self._task is not None:
            self._progress.advance(self._task, n)

    def _print(self, text: str) -> None:
        # soft_wrap keeps a log's line whole, so that it can be searched and parsed.
        self.console.print(Text(text), soft_wrap=True)

    def _render(self) -> Group:
        table = Table(expand=True, pad_edge=False, box=None)
        table.add_column("terrain", no_wrap=True, min_width=len("terrain"), style="bold")
        has_cells = any(f"cells/{terrain}" in self._latest for terrain in self.terrains)
        for heading in ("mean", "best", "valid", "unique", *(["cells"] if has_cells else [])):
            table.add_column(heading, justify="right", min_width=6)
        table.add_column("trend of the mean", min_width=TREND_LENGTH, no_wrap=True)
        ascii_only = not self.console.encoding.lower().startswith("utf")
        shown, left_out = self._shown()
        for terrain in shown:
            table.add_row(
                Text(terrain),
                _fitness(self._latest.get(f"fitness/{terrain}")),
                _fitness(self._best.get(terrain)),
                _share(self._latest.get(f"valid/{terrain}")),
                _share(self._latest.get(f"unique/{terrain}")),
                *([_count(self._latest.get(f"cells/{terrain}"))] if has_cells else []),
                Text(sparkline(list(self._trend[terrain]), ascii_only), style="cyan"),
            )
        if left_out:
            table.add_row(Text(f"and {left_out} terrains between them", style="dim"))
            cells = [_count(over(self._latest, "cells", self.terrains))] if has_cells else []
            table.add_row(Text(f"all {len(self.terrains)}"), *self._means(), *cells)
        return Group(self._progress, table)

    def _shown(self) -> tuple[list[str], int]:
        """The terrains that there is room for, and how many there are besides: the best and the worst where many."""
        room = max(2, self.console.height - AROUND)
        if len(self.terrains) <= room + 2:
            return self.terrains, 0
        ranked = sorted(self.terrains, key=lambda name: -self._latest.get(f"fitness/{name}", 0.0))
        best, worst = ranked[: room - room // 2], ranked[len(ranked) - room // 2 :]
        return best + worst, len(ranked) - room

    def _means(self) -> list[str]:
        """Over all terrains: mean fitness, mean of the best, and shares of valid and unique programs."""
        fitness, valid, unique = (over(self._latest, name, self.terrains) for name in ("fitness", "valid", "unique"))
        best = sum(self._best.values()) / len(self._best) if self._best else None
        return [_fitness(fitness), _fitness(best), _share(valid), _share(unique)]


def over(metrics: Mapping[str, Any], name: str, terrains: Sequence[str]) -> float | None:
    """The mean of a metric over those terrains that have it; None where none has."""
    found = [float(metrics[f"{name}/{each}"]) for each in terrains if metrics.get(f"{name}/{each}") is not None]
    return sum(found) / len(found) if found else None


def plain_line(metrics: Mapping[str, Any], terrains: Sequence[str], done: int, total: int) -> str:
    """One line for one step: ``step 3/8  left_wall 64.1 (valid 92%, unique 80%)  12.3 s``.

    Of many terrains it says the means, the best and the worst.
    """
    known = [terrain for terrain in terrains if f"fitness/{terrain}" in metrics]
    parts = [f"step {done}/{total}"]
    if len(known) <= MANY:
        parts += [f"{name} {_fitness(metrics[f'fitness/{name}'])}{_shares(metrics, [name])}" for name in known]
    else:
        ranked = sorted(known, key=lambda name: float(metrics[f"fitness/{name}"]))
        mean = _fitness(over(metrics, "fitness", known))
        ends = (f"{_fitness(metrics[f'fitness/{name}'])} on {name}" for name in (ranked[0], ranked[-1]))
        parts.append(f"{len(known)} terrains: mean {mean}{_shares(metrics, known)}, from {' to '.join(ends)}")
    if "seconds" in metrics:
        parts.append(f"after {metrics['seconds']:.1f} s")
    return "  ".join(parts)


def _shares(metrics: Mapping[str, Any], terrains: Sequence[str]) -> str:
    """Shares of valid and of unique programs in brackets, as far as they are known."""
    found = {name: over(metrics, name, terrains) for name in ("valid", "unique")}
    words = [f"{name} {_share(share)}" for name, share in found.items() if share is not None]
    return f" ({', '.join(words)})" if words else ""


def sparkline(values: Sequence[float], ascii_only: bool = False) -> str:
    """One character a value, from the lowest to the highest of them; a blank for one that is not finite."""
    levels = "_.-~=+*#" if ascii_only else "▁▂▃▄▅▆▇█"
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return " " * len(values)
    low, span = min(finite), max(finite) - min(finite)
    top = len(levels) - 1
    heights = (round((v - low) / span * top) if span > 0 else 0 for v in finite)
    marks = iter(heights)
    return "".join(levels[next(marks)] if math.isfinite(v) else " " for v in values)


def _fitness(value: float | None) -> str:
    return "-" if value is None else fitness_text(value)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
