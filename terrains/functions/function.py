"""A user's function: which arguments it takes, and calls with copies of them."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from terrains.base import Attempt, Terrain
from terrains.errors import WorldError, did_you_mean
from terrains.functions.instructions import ARGUMENTS
from terrains.functions.quiet import quiet

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Sample:
    """A text that is to be scored.

    Attributes:
        place: which of the attempts it is that are scored together, from 0.
        text: the whole text.
        prompt: the instruction that it was written behind.
        output: what was written behind it.
        output_ids: the tokens of that.
        terrain: the terrain's name.
        metadata: fields of the instruction.
    """

    place: int
    text: str
    prompt: str
    output: str
    output_ids: tuple[int, ...]
    terrain: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, place: int, attempt: Attempt, terrain: Terrain) -> Sample:
        """Makes one of an attempt. A text that does not begin with its instruction is an output as a whole.

        Raises:
            WorldError: the terrain has no such instruction.
        """
        if not 0 <= attempt.instruction < len(terrain.all_instructions):
            raise WorldError(
                f"terrain {terrain.name!r} has {len(terrain.all_instructions)} instructions and none of number "
                f"{attempt.instruction}"
            )
        instruction = terrain.all_instructions[attempt.instruction]
        output = attempt.program.removeprefix(instruction.text)
        return cls(
            place, attempt.program, instruction.text, output, attempt.output_ids, terrain.name, instruction.metadata
        )


class Function:
    """A function with trlx's signature: ``reward_fn(samples, prompts, outputs, tokenizer, **metadata)``.

    All arguments are lists with an entry a sample, but the tokenizer. A function takes those it names; with
    ``**kwargs`` all there are, ``output_ids`` and ``terrain`` among them.

    Args:
        function: what is called. It may name metadata that it needs in an attribute ``needs``.
        called: how messages call it.
        file: the file that it comes from, for messages.

    Raises:
        WorldError: nobody can tell its arguments.
    """

    def __init__(self, function: Callable[..., Any], called: str, file: str = "") -> None:
        self.call_it, self.called, self.file = function, called, file
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            raise WorldError(f"{called}: its arguments cannot be told; write a function that calls it") from None
        kinds = {each.kind for each in parameters}
        self._takes_all = inspect.Parameter.VAR_KEYWORD in kinds
        self._positional = [each.name for each in parameters if each.kind is inspect.Parameter.POSITIONAL_ONLY]
        self._named = [each.name for each in parameters if each.kind in _NAMED]
        required = [each.name for each in parameters if each.default is inspect.Parameter.empty]
        self._required = [name for name in required if name in self._positional + self._named]
        self._needs: tuple[str, ...] = tuple(getattr(function, "needs", ()))
        self._bound = function.keywords if isinstance(function, functools.partial) else {}

    def check(self, terrain: str, fields: Iterable[str]) -> None:
        """Checks that samples of a terrain have everything the function asks for.

        Args:
            terrain: the terrain's name, for messages.
            fields: its metadata.

        Raises:
            WorldError: something is missing; the message names the nearest thing there is.
        """
        known = [*ARGUMENTS, *fields]
        for name in [*self._required, *self._needs]:
            if name not in known and name not in self._bound:
                raise WorldError(
                    f"{self.called} asks for {name!r}, which terrain {terrain!r} has not{did_you_mean(name, known)} "
                    f"(there are: {', '.join(known)})"
                )

    def __call__(self, samples: Sequence[Sample], tokenizer: Any) -> Any:
        """Calls it with copies, so that what it does to its arguments changes nothing. What it prints is logged."""
        given = arguments(samples, tokenizer)
        positional = [given.pop(name) for name in itertools.takewhile(given.__contains__, self._positional)]
        if not self._takes_all:
            given = {name: value for name, value in given.items() if name in self._named}
        given = {name: value for name, value in given.items() if name not in self._bound}
        with quiet(self.called):
            return self.call_it(*positional, **given)

    def close(self) -> None:
        """Ends what the function holds, where it has a method ``close``."""
        end = getattr(self.call_it, "close", None)
        if callable(end):
            end()


def arguments(samples: Sequence[Sample], tokenizer: Any) -> dict[str, Any]:
    """Returns everything that a function can be given of samples, by name; fresh lists each time."""
    fields = dict.fromkeys(name for each in samples for name in each.metadata)
    return {
        "samples": [each.text for each in samples],
        "prompts": [each.prompt for each in samples],
        "outputs": [each.output for each in samples],
        "tokenizer": tokenizer,
        "output_ids": [list(each.output_ids) for each in samples],
        "terrain": [each.terrain for each in samples],
        **{name: [copy.deepcopy(each.metadata.get(name)) for each in samples] for name in fields},
    }
