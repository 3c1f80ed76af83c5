"""Names of terrains: from ``tunnel(height=26) + bumpy(seed=3)`` to a ground, and to the one way of writing it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from terrains.sodarace.ground.combine import combine
from terrains.sodarace.ground.families import FAMILIES, parameters_of
from terrains.sodarace.ground.files import read_ground
from terrains.sodarace.ground.geometry import Ground

FILE = "file"
"""The family whose grounds are read from a file; its only parameter is the ``path``."""

_QUOTED = r'"(?:[^"\\]|\\.)*"|' + r"'[^']*'"
_PART = re.compile(rf"\s*([A-Za-z_]\w*)\s*(?:\(((?:[^()\"']|{_QUOTED})*)\))?\s*")
_ARGUMENT = re.compile(rf"(?:[^,\"']|{_QUOTED})+")
_PLAIN_PATH = re.compile(r"[\w./~\\:@%-](?:[\w./~\\:@% -]*[\w./~\\:@%-])?")
"""Paths that need no quotes in a name."""


@dataclass(frozen=True)
class Part:
    """One family of a name and what the name says of its parameters; of ``file`` it is the path."""

    family: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    path: str = ""

    def __str__(self) -> str:
        if self.family == FILE:
            said = [f"path={self.path if _PLAIN_PATH.fullmatch(self.path) else json.dumps(self.path)}"]
        else:
            given = self.parameters
            known = parameters_of(self.family).values()
            said = [f"{p.name}={_shortest(given[p.name])}" for p in known if given.get(p.name, p.default) != p.default]
        return f"{self.family}({','.join(said)})" if said else self.family

    def ground(self) -> Ground:
        """Builds the ground, or reads it.

        Raises:
            ValueError: the file is not there, or holds no ground.
        """
        if self.family == FILE:
            return read_ground(Path(self.path))
        return FAMILIES[self.family](**self.parameters)


def parse_name(name: str) -> tuple[Part, ...]:
    """Splits a terrain's name into its parts, such as the two of ``tunnel + bumpy(amplitude=4, seed=3)``.

    A path may stand in quotes, and has to where it holds commas, brackets or quotes.

    Raises:
        ValueError: no such family or parameter (the nearest one is named), or a value out of its range.
    """
    found, position = [], 0
    while match := _PART.match(name, position):
        found.append((match[1], match[2] or ""))
        position = match.end()
        if position == len(name):
            return tuple(_part(family, arguments) for family, arguments in found)
        if name[position] != "+":
            break
        position += 1
    raise ValueError(
        f"{name!r} is not a terrain: write a family, or a family with parameters as bumpy(amplitude=4, seed=3), or "
        "several as tunnel+bumpy"
    )


def canonical_name(name: str) -> str:
    """Returns the one name of a terrain: parameters in the family's order, defaults left out, parts in theirs.

    Raises:
        ValueError: as `parse_name` does. No file is looked at.
    """
    return "+".join(map(str, parse_name(name)))


def make_ground(name: str) -> Ground:
    """Builds the ground of that name.

    Raises:
        ValueError: as `parse_name` does, a file is not there or holds no ground, or the parts do not go together.
    """
    parts = parse_name(name)
    grounds = [part.ground() for part in parts]
    if len(grounds) == 1:
        return grounds[0]
    try:
        return combine(grounds)
    except ValueError as error:
        raise ValueError(f"{'+'.join(map(str, parts))}: {error}") from None


def needs_file(name: str) -> bool:
    """Whether a ground of that name is read from a file, at least in part."""
    return any(part.family == FILE for part in parse_name(name))


def grounds_from_files(names: Iterable[str]) -> dict[str, Ground]:
    """Returns the grounds that need a file, by canonical name: for a process on a machine that has no such file.

    Raises:
        ValueError: as `make_ground` does.
    """
    return {canonical_name(name): make_ground(name) for name in names if needs_file(name)}


def _part(family: str, arguments: str) -> Part:
    if family not in FAMILIES and family != FILE:
        known = [*FAMILIES, FILE]
        near = _nearest(family, known)
        raise ValueError(f"no terrain {family!r}{near}{' There' if near else '; there'} are {', '.join(known)}")
    pairs = [tuple(each.strip() for each in a.partition("=")[::2]) for a in _ARGUMENT.findall(arguments) if a.strip()]
    names = [key for key, _ in pairs]
    known = ["path"] if family == FILE else list(parameters_of(family))
    for key in names:
        if key not in known:
            raise ValueError(
                f"{family} has no parameter {key!r}{_nearest(key, known)}; it has {', '.join(known) or 'none'}"
            )
        if names.count(key) > 1:
            raise ValueError(f"{family}: {key} is there twice")
    if family == FILE:
        path = _unquoted(dict(pairs).get("path", ""))
        if not path:
            raise ValueError("file: say where it is, as in file(path=grounds/canyon.csv)")
        return Part(family, path=path)
    return Part(family, {key: _value(family, key, text) for key, text in pairs})


def _unquoted(text: str) -> str:
    if text.startswith("'") and text.endswith("'") and len(text) > 1:
        return text[1:-1]
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        raise ValueError(f"file: {text} is no text in quotes") from None


def _value(family: str, key: str, text: str) -> float:
    parameter = parameters_of(family)[key]
    try:
        value = int(text) if parameter.whole else float(text)
    except ValueError:
        raise ValueError(
            f"{family}: {key}={text!r} is not {'a whole number' if parameter.whole else 'a number'}"
        ) from None
    if not parameter.least <= value <= parameter.greatest:
        raise ValueError(f"{family}: {key}={text} is out of range, {parameter.least:g} to {parameter.greatest:g}")
    return value


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) else repr(value)


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else ""
