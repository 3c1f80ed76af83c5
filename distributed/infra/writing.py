"""Files that are written completely or not at all, and one-line errors where a disk is full or read-only."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from distributed.errors import UserError

DRAFT = ".unfinished_"
"""Begins the name of a file while it is being written."""

FULL = "free some space there"
CLOSED = "make it writable, or name another place"
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: CLOSED,
    errno.EACCES: CLOSED,
    errno.EPERM: CLOSED,
}


class WriteError(UserError):
    """A file cannot be written. The message is one line: the path, the cause and what helps."""


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Lets a file be written under another name, which becomes its own at the end; a failure leaves what was there.

    Args:
        path: the file. What is no regular file, such as a device, is written to directly.

    Yields:
        Where to write; its ending is the file's.

    Raises:
        WriteError: it cannot be written.
    """
    path = Path(path)
    final = Path(os.path.realpath(path))
    draft = final if final.exists() and not final.is_file() else final.with_name(f"{DRAFT}{final.name}")
    with told(path):
        try:
            yield draft
            if draft != final:
                os.replace(draft, final)
        except BaseException:
            if draft != final:
                with suppress(OSError):
                    draft.unlink()
            raise


def write_text(path: str | Path, text: str) -> None:
    """Writes a text in UTF-8, whole or not at all.

    Raises:
        WriteError: it cannot be written.
    """
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Turns what goes wrong while a file, or a directory of files, is written into a WriteError that names it."""
    try:
        yield
    except Exception as error:
        if not is_of_system(error):
            raise
        raise WriteError(f"cannot write {str(path)!r}: {why(error)}") from error


def temporary() -> str:
    """Where temporary files go, for messages: asking for it fails where there can be none."""
    return os.environ.get("TMPDIR") or "/tmp"


def is_of_system(error: Exception) -> bool:
    """Whether the system refused something; safetensors and tokenizers raise kinds of their own for that."""
    return isinstance(error, OSError | SafetensorError) or (
        type(error) is Exception and _number_in(str(error)) is not None
    )


def why(error: Exception) -> str:
    """What the system says of a failed write, and what helps where that is known.

    Args:
        error: an OSError, or one of safetensors or tokenizers, which has the system's number in its text.
    """
    number = error.errno if isinstance(error, OSError) else _number_in(str(error))
    if number is None:
        return (str(error).splitlines() or [type(error).__name__])[0]
    remedy = REMEDIES.get(number)
    return f"{os.strerror(number)}; {remedy}" if remedy else os.strerror(number)


def _number_in(text: str) -> int | None:
    found = re.search(r"(?:code: |os error )(\d+)", text)
    return int(found[1]) if found else None
