"""The log of Stage 1, from which an interrupted run goes on.

Its JSON lines are settings, evaluations as they come in, and after those of a generation the programs kept of it and
what it came to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from terrains.sodarace.map_elites.corpus import CorpusConfig, CorpusProgram, from_row
from terrains.sodarace.map_elites.evaluation import Evaluation
from terrains.sodarace.map_elites.evolution import Generation

GOES_ON = {"programs", "evaluations", "chunk"}
"""Settings that a run may go on with other values of: they do not change what it has done so far."""


class CorpusLog:
    """The log of one run. What was being written when the run was interrupted is cut off.

    Args:
        path: the file; the first evaluations make it.
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

    def read(self) -> tuple[list[Generation], list[Evaluation]]:
        """Returns the whole generations of an earlier run, and the evaluations that came after them; cuts off the rest.

        Raises:
            ValueError: the file is no log, or one of a run with other settings or other physics.
        """
        generations: list[Generation] = []
        under_way: list[Evaluation] = []
        programs: list[CorpusProgram] = []
        if not self.path.exists():
            return generations, under_way
        with self.path.open("rb+") as file:
            self._check(file.readline())
            whole = file.tell()
            for row in iter(lambda: _parsed(file.readline()), None):
                if "program" in row:
                    programs.append(from_row(row))
                    continue
                if "evaluations" in row:
                    under_way += [_evaluation(*each) for each in row["evaluations"]]
                else:
                    self.seconds += row.pop("seconds")
                    generations.append(Generation(**row | {"forgotten": tuple(row["forgotten"])}, kept=tuple(programs)))
                    programs, under_way = [], []
                whole = file.tell()
            file.truncate(whole)
        return generations, under_way

    def append_evaluations(self, evaluations: Sequence[Evaluation]) -> None:
        """Writes evaluations of the generation under way."""
        self._write({"evaluations": [(e.fitness, e.descriptors, e.failure) for e in evaluations]})

    def append(self, generation: Generation, seconds: float) -> None:
        """Writes what a generation came to, and the time that it took."""
        self.seconds += seconds
        rest = asdict(generation) | {"seconds": round(seconds, 2)}
        del rest["kept"]
        self._write(*map(asdict, generation.kept), rest)

    def _write(self, *rows: dict) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        first = () if self.path.exists() else (self._head,)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in (*first, *rows))

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


def _evaluation(fitness: list[float], descriptors: list[float] | None, failure: str | None) -> Evaluation:
    """An evaluation from its JSON, in which tuples are lists."""
    height_width_mass = None if descriptors is None else (descriptors[0], descriptors[1], descriptors[2])
    return Evaluation(tuple(fitness), height_width_mass, failure)
