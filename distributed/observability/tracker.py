"""What a run tells a tracker, and the tracker that records nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self


class Tracker:
    """Records nothing, as ``train.tracker: null`` asks for; the base of every tracker, which has these methods.

    Attributes:
        run_id: the run's id in its store, None where there is none.
        failures: calls to the store that failed.
        lost: metrics, tags and files that will never be recorded.
    """

    run_id: str | None = None

    def __init__(self) -> None:
        self.failures = self.lost = 0

    @property
    def address(self) -> str | None:
        """Where a person finds what is recorded, None where there is nothing to be found."""
        return None

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Records the metrics of one step. Names may hold terrains, as in ``fitness/bumpy(amplitude=4,seed=3)``."""

    def tag(self, name: str, value: str) -> None:
        """Sets a tag; setting it again replaces it. The place for what moves, which a param cannot."""

    def artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Records a file, or a directory with all in it, under ``folder``."""

    def close(self, status: str = "FINISHED") -> None:
        """Ends the run as FINISHED, FAILED or KILLED. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the run; an exception makes it FAILED, an interrupt or an exit KILLED."""
        if kind is None:
            self.close()
        else:
            self.close("FAILED" if issubclass(kind, Exception) else "KILLED")
