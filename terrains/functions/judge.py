"""Asks functions about samples: in pieces, in threads, within a deadline, again one by one where a piece fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from terrains.errors import WorldError, one_line
from terrains.functions import failures
from terrains.functions.answers import Answer, Problem, WrongAnswer, read_rewards
from terrains.functions.config import FunctionsConfig
from terrains.functions.crew import Crew, Done
from terrains.functions.function import Function, Sample
from terrains.loading import described

T = TypeVar("T")

NOT_ASKED = Problem("", "was not asked about")
"""The answer for a sample that came behind the one whose error ends it all."""


class Judge:
    """Asks functions about samples.

    Args:
        config: whether an error ends it all, how many threads there are, what the deadline is.

    Attributes:
        tokenizer: what functions are given as such.
        counts: calls, and samples by kind of failure.
    """

    def __init__(self, config: FunctionsConfig) -> None:
        self._stops = config.on_error == "stop"
        self._size = config.batch_size or (1 if config.threads > 1 else 0)
        self._deadline = config.deadline_s
        self._crew = Crew(config.threads, config.deadline_s)
        self.tokenizer: Any = None
        self.counts: Counter[str] = Counter({"calls": 0, "asked_again": 0})

    def rewards(self, function: Function, samples: Sequence[Sample]) -> list[Answer]:
        """Returns what a function gives to samples, in order; why it gives none is an answer too.

        Raises:
            WorldError: it failed for a sample, and that ends it all; the message names the sample.
        """
        size = self._size or len(samples)
        pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
        answers: list[Answer] = []
        for piece, done in zip(pieces, self._ask(function, pieces), strict=True):
            found = self._read(function, piece, done)
            if not isinstance(found, Problem):
                answers += found
            elif len(piece) > 1 and found.kind != failures.LATE:
                answers += self._one_by_one(function, piece, found)
            else:
                answers += [found] * len(piece)
        if self._stops:
            self._stop_at(function, samples, answers)
        return [_by(function, answer) if isinstance(answer, Problem) else answer for answer in answers]

    def ask(
        self, function: Function, samples: Sequence[Sample], read: Callable[[Any, Sequence[Sample]], T]
    ) -> T | Problem:
        """Returns what a function says of all samples together, or why it says nothing.

        Args:
            function: what is asked.
            samples: what it is given.
            read: checks what it returns for these samples; raises WrongAnswer.

        Raises:
            WorldError: it failed, and that ends it all.
        """
        done = self._crew.do([lambda: read(self._call(function, samples), samples)], lambda _: True)[0]
        self.counts["calls"] += 1
        problem = self._problem(function, done)
        if problem and self._stops:
            raise WorldError(f"{function.called} {problem.said} ({len(samples)} samples of {_terrains(samples)})")
        if problem or done is None or done.value is None:
            return problem or Problem(failures.REWARD_ERROR, "returned nothing")
        return done.value

    def _stop_at(self, function: Function, samples: Sequence[Sample], answers: Sequence[Answer]) -> None:
        """Ends it all where there is an error."""
        for sample, answer in zip(samples, answers, strict=True):
            if isinstance(answer, Problem) and answer is not NOT_ASKED:
                where = f"sample {sample.place + 1} of terrain {sample.terrain!r}, {one_line(sample.text, 60)!r}"
                raise WorldError(f"{function.called} {answer.said} ({where})")

    def _ask(self, function: Function, pieces: Sequence[Sequence[Sample]]) -> list[Done[list[Answer]] | None]:
        calls = [partial(self._rewards_of, function, piece) for piece in pieces]
        return self._crew.do(calls, self._is_enough)

    def _one_by_one(self, function: Function, piece: Sequence[Sample], together: Problem) -> list[Answer]:
        """Answers of samples that failed together, each asked for alone."""
        self.counts["asked_again"] += len(piece)
        alone = self._ask(function, [[sample] for sample in piece])
        answers = [self._read(function, [sample], done) for sample, done in zip(piece, alone, strict=True)]
        found = [answer if isinstance(answer, Problem) else answer[0] for answer in answers]
        if self._stops and not any(isinstance(answer, Problem) for answer in found):
            said = f"{together.said} ({len(piece)} samples together; alone none of them fails)"
            return [Problem(together.kind, said)] * len(piece)
        return found

    def _rewards_of(self, function: Function, piece: Sequence[Sample]) -> list[Answer]:
        return read_rewards(self._call(function, piece), piece)

    def _call(self, function: Function, samples: Sequence[Sample]) -> Any:
        return function(samples, self.tokenizer)

    def _is_enough(self, done: Done[list[Answer]]) -> bool:
        failed = done.value is None or any(isinstance(answer, Problem) for answer in done.value)
        return self._stops and failed

    def _read(
        self, function: Function, piece: Sequence[Sample], done: Done[list[Answer]] | None
    ) -> list[Answer] | Problem:
        if done is None:
            return [NOT_ASKED] * len(piece)
        self.counts["calls"] += 1
        return self._problem(function, done) or done.value or []

    def _problem(self, function: Function, done: Done[Any] | None) -> Problem | None:
        if done is None or done.late:
            return Problem(failures.LATE, f"gave no answer within {self._deadline:g} s")
        if isinstance(done.error, WrongAnswer):
            return Problem(done.error.kind, str(done.error))
        if done.error is not None:
            return Problem(failures.REWARD_ERROR, f"failed: {described(done.error, function.file)}")
        return None


def _by(function: Function, problem: Problem) -> Problem:
    return Problem(problem.kind, f"{function.called} {problem.said}")


def _terrains(samples: Sequence[Sample]) -> str:
    names = list(dict.fromkeys(sample.terrain for sample in samples))
    return "terrain" + ("s " if len(names) > 1 else " ") + ", ".join(repr(name) for name in names)
