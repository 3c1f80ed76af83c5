"""What became of something that a file says, in words."""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """One remark on a file.

    Attributes:
        name: full name of the setting, as the file has it.
        words: what became of it, to be read behind the name.
        now: full name of the setting that it has become, empty where it has become none.
    """

    name: str
    words: str
    now: str = ""

    def __str__(self) -> str:
        return f"{self.name}{self.words}" if self.words.startswith(":") else f"{self.name} {self.words}"
