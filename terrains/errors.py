"""Mistakes in what a user brings: a world, a function, a file. One line that says what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorldError(ValueError):
    """Something that the user of a world can put right. The message is one line."""


def nearest(name: object, options: Iterable[str]) -> str | None:
    """Returns the option that is spelt most like a name, or None when none is like it. Case does not matter."""
    by_spelling = {option.casefold(): option for option in options}
    found = difflib.get_close_matches(str(name).casefold(), by_spelling, n=1, cutoff=0.6)
    return by_spelling[found[0]] if found else None


def did_you_mean(name: object, options: Iterable[str]) -> str:
    """Returns ``; did you mean X?``, to be put behind a message, or nothing when no option is like the name."""
    found = nearest(name, options)
    return f"; did you mean {found}?" if found else ""


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON can hold halves of characters, which cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def one_line(text: object, most: int = 200) -> str:
    """Returns a text as one line of at most so many characters, without what no terminal should be sent."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else line[: most - 3] + "..."
