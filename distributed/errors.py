"""Mistakes of a user: one line that says what is wrong and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_CODE = 2


class UserError(Exception):
    """Something that the user can put right. The message is one line; commands print it and exit with 2."""


class DivergedError(UserError):
    """A run whose numbers are no longer finite; the message names the terrain, the step and what to change."""


def nearest(name: object, options: Iterable[str]) -> str | None:
    """Returns the option that is spelt most like a name, or None when none is like it. Case does not matter."""
    by_spelling = {option.casefold(): option for option in options}
    found = difflib.get_close_matches(str(name).casefold(), by_spelling, n=1, cutoff=0.6)
    return by_spelling[found[0]] if found else None


def did_you_mean(name: object, options: Iterable[str]) -> str:
    """Returns ``; did you mean X?``, to be put behind a message, or nothing when no option is like the name."""
    found = nearest(name, options)
    return f"; did you mean {found}?" if found else ""
