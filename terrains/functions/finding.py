"""From what settings call a function to something that can be called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ValidationError

from terrains.errors import WorldError, did_you_mean
from terrains.functions.config import RewardConfig
from terrains.functions.function import Function
from terrains.functions.given import PREFIX, code_of, file_of, is_given, missing
from terrains.functions.rewards import SHIPPED
from terrains.functions.settings import explain
from terrains.loading import SourceFile, described, load_callable, names_file, source_of, split_reference


class Finder:
    """Finds functions, and keeps the texts of the files they come from.

    Args:
        given: functions that have no file, by the names that settings call them.
        texts: what files say, by the path that settings have, where they were read on another machine.

    Attributes:
        texts: what was read of files so far.
    """

    def __init__(self, given: Mapping[str, Callable[..., Any]], texts: Mapping[str, str]) -> None:
        self._given, self.texts = given, dict(texts)
        self._found: dict[str, Function] = {}

    def find(self, spec: RewardConfig) -> Function:
        """Returns the function of that name with these arguments; equal ones are made once.

        Raises:
            WorldError: there is none; the message is one line and names the nearest one.
        """
        key = spec.model_copy(update={"weight": 1.0}).model_dump_json()
        if key not in self._found:
            self._found[key] = self._make(spec)
        return self._found[key]

    def code(self, spec: RewardConfig) -> str:
        """Returns a function's own code, as far as it is known; empty for those that come along."""
        if names_file(spec.name):
            return self._text(spec.name) or ""
        if spec.name in SHIPPED:
            return ""
        found = self._callable(spec.name)
        if is_given(spec.name):
            return code_of(found)
        with suppress(OSError, TypeError):
            return inspect.getsource(found)
        return ""

    def close(self) -> None:
        """Ends what the functions hold."""
        for function in self._found.values():
            function.close()

    def _make(self, spec: RewardConfig) -> Function:
        found, file = self._callable(spec.name), ""
        if names_file(spec.name):
            file = SourceFile(split_reference(spec.name)[0], "").absolute
        elif is_given(spec.name):
            file = file_of(found)
        _check_weight(found, spec)
        if inspect.isclass(found):
            found = _instance(found, spec)
        elif spec.arguments:
            found = _with_arguments(found, spec)
        return Function(found, spec.name.removeprefix(PREFIX), file)

    def _callable(self, name: str) -> Callable[..., Any]:
        if name in self._given:
            return self._given[name]
        if is_given(name):
            raise missing(name)
        if ":" in name:
            return load_callable(name, text=self._text(name))
        if name not in SHIPPED:
            known = [*self._given, *SHIPPED]
            raise WorldError(
                f"there is no reward {name!r}{did_you_mean(name, known)} (there are {', '.join(known)}, and your own "
                "functions as package.module:function or file.py:function)"
            )
        return load_callable(SHIPPED[name])

    def _text(self, reference: str) -> str | None:
        if not names_file(reference):
            return None
        place, _ = split_reference(reference)
        if place not in self.texts:
            source = source_of(reference)
            self.texts[place] = source.text if source else ""
        return self.texts[place]


def _check_weight(found: Any, spec: RewardConfig) -> None:
    """Refuses a misspelt ``weight``, which ``**rest`` would take as an argument, with a weight of 1."""
    taken = getattr(getattr(found, "Config", None), "model_fields", None)
    if taken is None:
        try:
            taken = inspect.signature(found).parameters
        except (TypeError, ValueError):
            return  # which is said where its arguments are looked at
    for name in spec.arguments:
        if name not in taken and _is_nearly(name.casefold(), "weight"):
            raise WorldError(f"reward {spec.name}: no such setting {name!r}; did you mean weight?")


def _is_nearly(name: str, word: str) -> bool:
    """Whether a name has the letters of a word in another order, or all but one."""
    return sorted(name) == sorted(word) or name in {word[:k] + word[k + 1 :] for k in range(len(word))}


def _instance(kind: type, spec: RewardConfig) -> Callable[..., Any]:
    """An object of a class, made of its settings if it has a ``Config``, else of the arguments."""
    model = getattr(kind, "Config", None)
    try:
        if inspect.isclass(model) and issubclass(model, BaseModel):
            made = kind(model(**spec.arguments))
        else:
            made = kind(**spec.arguments)
    except ValidationError as error:
        raise WorldError(f"reward {spec.name}: {explain(error, model or BaseModel)}") from None
    except WorldError as error:
        raise WorldError(f"reward {spec.name}: {error}") from None
    except Exception as error:
        raise WorldError(f"reward {spec.name} cannot be made: {described(error)}") from error
    if not callable(made):
        raise WorldError(f"reward {spec.name}: what the class {kind.__name__} makes cannot be called")
    return made  # type: ignore[no-any-return]


def _with_arguments(function: Callable[..., Any], spec: RewardConfig) -> Callable[..., Any]:
    parameters = inspect.signature(function).parameters
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        for name in spec.arguments:
            if name not in parameters:
                raise WorldError(f"{spec.name} takes no argument {name!r}{did_you_mean(name, parameters)}")
    return functools.partial(function, **spec.arguments)
