"""What a run could not record in MLflow: kept as JSON lines in the run's folder until it is sent."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

UNTRACKED = "untracked.jsonl"
"""Name of the file in a run's folder; those of a search's members are ``untracked-member-N.jsonl``."""

MAX_KEPT = 200_000
"""Entries kept where there is no file."""

Entry = dict[str, Any]
"""``metric``, ``value``, ``at`` (ms since 1970) and ``step``; ``tag`` and ``value``; or ``artifact`` and ``folder``."""

BATCH = 1000
"""Metrics that MLflow takes in one call."""


class Untracked:
    """Entries that wait for a store.

    The file's first line, ``{"run": ...}``, says how to open the run; a line ``{"status": ...}`` says how it ended.

    Attributes:
        lost: entries that could not be kept.
        status: how the run ended, None while it goes on.
        run: the first line of the file, empty where there is none.
    """

    def __init__(self, path: Path | None) -> None:
        """Reads what an earlier process has left.

        Args:
            path: the file, made with the first entry; None keeps everything in memory.
        """
        self.path, self.lost = path, 0
        self.status: str | None = None
        self.run: dict[str, Any] = {}
        self._entries: list[Entry] = []
        self._counts: Counter[str] = Counter()
        if path is not None and path.exists():
            for line in _lines(path):
                self.run = line.get("run", self.run)
                self.status = line.get("status", self.status)
                self._counts[_kind(line)] += 1

    def __len__(self) -> int:
        return sum(self._counts[kind] for kind in ("metric", "tag", "artifact"))

    def __iter__(self) -> Iterator[Entry]:
        """The entries, the oldest first."""
        if self.path is None:
            yield from list(self._entries)
        elif self.path.exists():
            yield from (line for line in _lines(self.path) if _kind(line) in ("metric", "tag", "artifact"))

    def add(self, entries: Iterable[Entry], run: Mapping[str, Any]) -> None:
        """Keeps entries; what cannot be written is counted as lost.

        Args:
            entries: what was not recorded.
            run: how to open the run, written as the file's first line.
        """
        entries = list(entries)
        if self.path is None:
            self._entries += entries
            excess = max(0, len(self._entries) - MAX_KEPT)
            self.lost += excess
            del self._entries[:excess]
            self._counts = Counter(_kind(entry) for entry in self._entries)
            return
        lines = [] if self.run == run and self.path.exists() else [{"run": dict(run)}]
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(_plain(line), allow_nan=False)}\n" for line in [*lines, *entries])
        except OSError:
            self.lost += sum(_kind(entry) != "status" for entry in entries)
            return
        self.run = dict(run)
        self._counts.update(_kind(entry) for entry in entries)

    def clear(self, run: Mapping[str, Any]) -> None:
        """Forgets all entries: they are recorded. The file keeps its first line, which names the MLflow run."""
        self._entries.clear()
        self._counts.clear()
        self.status, self.run = None, dict(run)
        if self.path is not None:
            partial = self.path.with_name(f"{self.path.name}.partial")
            with suppress(OSError):  # to send everything again changes nothing
                partial.write_text(f"{json.dumps({'run': self.run})}\n", encoding="utf-8")
                os.replace(partial, self.path)

    def in_words(self) -> str:
        """What waits, such as ``120 metrics, 2 tags and 3 files``."""
        names = {"metric": "metrics", "tag": "tags", "artifact": "files"}
        said = [f"{self._counts[kind]} {name}" for kind, name in names.items() if self._counts[kind]]
        return " and ".join(filter(None, [", ".join(said[:-1]), *said[-1:]])) or "nothing"


def send_entries(client: Any, run_id: str, entries: Iterable[Entry], home: Path) -> tuple[int, int]:
    """Records entries in their order, metrics in batches. To record one again changes nothing.

    Args:
        client: of the store.
        run_id: the run.
        entries: what to record.
        home: the folder that relative paths of files start from.

    Returns:
        How many are recorded, and how many name a file that is not there any more.
    """
    from mlflow.entities import Metric

    sent = missing = 0
    for kind, group in itertools.groupby(entries, key=_kind):
        while batch := list(itertools.islice(group, BATCH if kind == "metric" else 1)):
            if kind == "metric":
                metrics = [Metric(e["metric"], float(e["value"]), e["at"], e["step"]) for e in batch]
                client.log_batch(run_id, metrics=metrics)
            elif kind == "tag":
                client.set_tag(run_id, batch[0]["tag"], batch[0]["value"])
            elif (path := home / batch[0]["artifact"]).exists():
                send = client.log_artifacts if path.is_dir() else client.log_artifact
                send(run_id, str(path), batch[0]["folder"])
            else:
                missing += 1
                continue
            sent += len(batch)
    return sent, missing


def _lines(path: Path) -> Iterator[Entry]:
    """The lines of a file, but for those that a kill has cut off or that are damaged."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line


def _kind(line: Mapping[str, Any]) -> str:
    return next(iter(line), "")


def _plain(line: Entry) -> Entry:
    """The line with a number that is not finite as text, since JSON has none."""
    value = line.get("value")
    return {**line, "value": str(value)} if isinstance(value, float) and value - value != 0 else line
