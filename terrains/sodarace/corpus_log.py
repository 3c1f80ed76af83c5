"""The log of Stage 1: one JSON line a program and one a generation, from which an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from terrains.sodarace.corpus import CorpusConfig, CorpusProgram, from_row
from terrains.sodarace.evolution import Generation

GOES_ON = {"programs", "evaluations", "chunk"}
"""Settings that a run may go on with other values of: they do not change what it has done so far."""


class CorpusLog:
    """The log of one run. Whole generations count: what was written of one that was interrupted is cut off.

    Args:
        path: the file; the first generation makes it.
        config: settings of the run.
        fingerprints: those of its terrains, in order.

    Attributes:
        seconds: time that the generations in it took.
    """

    def __init__(self, path: Path, config: CorpusConfig, fingerprints: Sequence[str]) -> None:
        self.path = path
        self.seconds = 0.0
        rules = config.model_dump(mode="json", exclude=GOES_ON)
        self._head: dict = {"rules": rules, "terrains": hashlib.sha256("".join(fingerprints).encode()).hexdigest()}

    def read(self) -> list[Generation]:
        """Returns the whole generations of an earlier run, none if there is no log.

        Raises:
            ValueError: the file is no log, or one of a run with other settings or other physics.
        """
        if not self.path.exists():
            return []
        generations: list[Generation] = []
        programs: list[CorpusProgram] = []
        with self.path.open("rb+") as file:
            self._check(file.readline())
            whole = file.tell()
            for line in iter(file.readline, b""):
                row = _parsed(line)
                if row is None:
                    break
                if "number" in row:
                    self.seconds += row.pop("seconds")
                    generations.append(Generation(**row | {"forgotten": tuple(row["forgotten"])}, kept=tuple(programs)))
                    programs, whole = [], file.tell()
                else:
                    programs.append(from_row(row))
            file.truncate(whole)
        return generations

    def append(self, generation: Generation, seconds: float) -> None:
        """Writes what a generation came to, and the time that it took."""
        self.seconds += seconds
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8") as file:
            if new:
                file.write(json.dumps(self._head) + "\n")
            file.writelines(json.dumps(asdict(p)) + "\n" for p in generation.kept)
            rest = asdict(generation) | {"seconds": round(seconds, 2)}
            del rest["kept"]
            file.write(json.dumps(rest) + "\n")

    def _check(self, line: bytes) -> None:
        head = _parsed(line)
        if head is None or set(head) != set(self._head):
            raise ValueError(f"{self.path} is not a log of a corpus")
        if head["terrains"] != self._head["terrains"]:
            raise ValueError(f"{self.path} was begun on other terrains, or with other physics")
        for name, value in self._head["rules"].items():
            if head["rules"].get(name) != value:
                raise ValueError(f"{self.path} was begun with {name} = {head['rules'].get(name)}, not {value}")


def _parsed(line: bytes) -> dict | None:
    """A line's object, or None for one that was cut short."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
