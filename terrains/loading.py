"""Finds what a setting refers to by ``package.module:name`` or ``file.py:name``: a reward function, a world's class.

A file is read as a text and made a module of its own, so that a machine which has no such file can be sent the text.
"""

from __future__ import annotations

import hashlib
import importlib
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from terrains.errors import WorldError, did_you_mean, one_line


@dataclass(frozen=True)
class SourceFile:
    """A Python file that can be sent to another machine.

    Attributes:
        path: where it lies; what errors call it.
        text: what it says.
    """

    path: str
    text: str

    @property
    def absolute(self) -> str:
        """The whole path, as tracebacks have it."""
        return str(expanded(self.path).absolute())

    @classmethod
    def read(cls, path: str | Path, relative_to: str | Path | None = None) -> SourceFile:
        """Reads a file.

        Args:
            path: where it lies.
            relative_to: folder that a relative path counts from; the current one if None.

        Raises:
            WorldError: it cannot be read.
        """
        place = Path(relative_to or ".", expanded(path))
        try:
            return cls(str(place), place.read_text("utf-8"))
        except (OSError, UnicodeError) as error:
            raise WorldError(f"{path}: {_unreadable(place, error)}") from None


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with the home directory in the place of ``~``, where there is one: ``~nobody`` stays."""
    return Path(os.path.expanduser(path))


def split_reference(reference: str) -> tuple[str, str]:
    """Splits ``my_rewards.py:reward_fn`` into the file or module and the name in it.

    Raises:
        WorldError: it has not that form.
    """
    place, colon, name = reference.strip().rpartition(":")
    if not colon or not place or not name or not all(part.isidentifier() for part in name.split(".")):
        raise WorldError(f"{reference!r}: write package.module:name or file.py:name")
    if not names_file(reference) and not all(map(str.isidentifier, place.split("."))):
        raise WorldError(f"{reference!r}: {place!r} is neither a module nor a file that ends in .py")
    return place, name


def names_file(reference: str) -> bool:
    """Whether a reference is to a file, and not to a module."""
    return reference.strip().rpartition(":")[0].endswith(".py")


def source_of(reference: str, relative_to: str | Path | None = None) -> SourceFile | None:
    """Returns the file that a reference names, to be sent along with it; None for a module.

    Raises:
        WorldError: the reference has not the form, or the file cannot be read.
    """
    place, _ = split_reference(reference)
    return SourceFile.read(place, relative_to) if names_file(reference) else None


def load_object(reference: str, relative_to: str | Path | None = None, text: str | None = None) -> Any:
    """Returns what a reference names. The same file with the same text is run once in a process.

    A file, and a module too, may import what lies in its own folder, if nothing else is called so.

    Args:
        reference: ``package.module:name`` or ``file.py:name``; a name may have dots, as ``Class.method``.
        relative_to: folder that files, and modules which are not installed, are looked for in; the current one if None.
        text: what the file says, where it was read on another machine.

    Raises:
        WorldError: there is no such file, module or name, or it cannot be imported; the message is one line and names
            the line of the user's file.
    """
    place, name = split_reference(reference)
    folder = str(Path(relative_to or ".").absolute())
    if names_file(reference):
        source = SourceFile(place, text) if text is not None else SourceFile.read(place, relative_to)
        module = _run(source, place)
    else:
        module = _import(place, folder)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            public = [each for each in vars(found) if not each.startswith("_")] if hasattr(found, "__dict__") else []
            raise WorldError(f"{place} has no {name!r}{did_you_mean(part, public)}")
        found = getattr(found, part)
    return found


def load_callable(reference: str, relative_to: str | Path | None = None, text: str | None = None) -> Callable[..., Any]:
    """Returns the function or class that a reference names; arguments and errors are those of `load_object`.

    Raises:
        WorldError: as `load_object`, or it cannot be called.
    """
    found = load_object(reference, relative_to, text)
    if not callable(found):
        raise WorldError(f"{reference} is {_article(type(found).__name__)}, and not a function")
    return found  # type: ignore[no-any-return]


def where(error: BaseException, *files: str) -> str:
    """Returns ``file.py:12``, the line of the user's own code that an exception comes from; empty if none is known.

    Args:
        error: the exception, as caught.
        files: the user's files, the innermost line in which counts; the innermost line of all where there is none.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    frames = [frame for frame in frames if frame[0] != __file__ and not frame[0].startswith("<frozen")]
    own = [frame for frame in frames if frame[0] in files] or frames
    return f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else ""


def described(error: BaseException, *files: str) -> str:
    """Returns an exception in one line: where it comes from, its type and its message; see `where`."""
    try:
        message = one_line(error.msg if isinstance(error, SyntaxError) else error)
    except Exception:  # it cannot even be shown
        message = ""
    place = where(error, *files)
    said = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{place}: {said}" if place else said


def _run(source: SourceFile, called: str) -> ModuleType:
    """The module that a file makes; errors call it as the user does."""
    path = source.absolute
    name = f"{Path(path).stem}_{hashlib.sha256(f'{path} {source.text}'.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = path
    _append(str(Path(path).parent))
    # Tracebacks, and inspect.getsource, find the text also where the file itself is not.
    linecache.cache[path] = (len(source.text), None, source.text.splitlines(keepends=True), path)
    sys.modules[name] = module
    try:
        exec(compile(source.text, path, "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):  # Ctrl-C
            raise
        raise WorldError(f"{called} cannot be imported: {described(error, path)}") from error
    return module


def _import(name: str, folder: str) -> ModuleType:
    """A module that is installed, or lies in a folder."""
    _append(folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            here = [path.stem for path in Path(folder).glob("*.py")]
            raise WorldError(f"there is no module {error.name!r}{did_you_mean(error.name, here)}") from None
        raise WorldError(f"{name} cannot be imported: {described(error)}") from error
    except (Exception, SystemExit) as error:
        raise WorldError(f"{name} cannot be imported: {described(error)}") from error


def _append(folder: str) -> None:
    """Lets imports find what lies in a folder, behind everything that they find already."""
    if folder not in sys.path and Path(folder).is_dir():
        sys.path.append(folder)
        importlib.invalidate_caches()


def _unreadable(place: Path, error: Exception) -> str:
    if not place.exists():
        siblings = [path.name for path in place.parent.iterdir()] if place.parent.is_dir() else []
        return f"no such file{did_you_mean(place.name, siblings)}"
    if isinstance(error, UnicodeError):
        return "is not a text in UTF-8"
    return one_line(getattr(error, "strerror", None) or error)


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
