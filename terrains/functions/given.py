"""Functions that were given in Python and lie in no file that settings could name: their names, and their source."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from terrains.errors import WorldError

PREFIX = "python:"
"""How settings begin the name of a function that was given in Python, as in ``python:reward_fn``."""


def is_given(name: str) -> bool:
    """Whether a name in the settings is that of a function that was given in Python."""
    return name.startswith(PREFIX)


def missing(name: str) -> WorldError:
    """The error where a function was given in Python and this process does not have it."""
    argument = name.removeprefix(PREFIX)
    return WorldError(
        f"{argument} was a function in Python, of which a run keeps the text alone and never runs it; give it again, "
        f"as in terraprompt.train(resume=..., {argument.partition('[')[0]}=...)"
    )


@dataclass(frozen=True)
class StandIn:
    """Stands for a function that was given in another process, so that all else of its world can be used.

    Attributes:
        name: what the settings call the function.
    """

    name: str

    def __call__(self, **rest: Any) -> Any:
        """Raises WorldError."""
        raise missing(self.name)


def code_of(function: Callable[..., Any]) -> str:
    """Returns a function's own text, as far as it is known: the same wherever and however deep it is written.

    Of a lambda it is the lambda alone, of a method or an object that can be called what is run.
    """
    function = plain(function)
    with suppress(OSError, TypeError, SyntaxError, ValueError):
        if getattr(function, "__name__", "") == "<lambda>":
            return _lambda(function)
        return textwrap.dedent(inspect.getsource(function))
    return ""


def file_of(function: Callable[..., Any]) -> str:
    """Returns the file that a function is written in, as tracebacks call it; empty where it has none."""
    code = getattr(plain(function), "__code__", None)
    return code.co_filename if code else ""


def plain(function: Any) -> Any:
    """Returns the function that is run when something is called."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function).__call__
    return getattr(function, "__func__", function)


def _lambda(function: Any) -> str:
    """The text of a lambda; empty where it cannot be told from others on its line."""
    code = function.__code__
    lines, _ = inspect.findsource(function)
    starts = {(line, column) for line, _, column, _ in code.co_positions()}
    found = [
        node
        for node in ast.walk(ast.parse("".join(lines)))
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno
    ]
    if len(found) > 1:
        found = [node for node in found if (node.body.lineno, node.body.col_offset) in starts]
    return ast.unparse(found[0]) if len(found) == 1 else ""
