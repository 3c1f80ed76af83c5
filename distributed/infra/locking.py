"""One process at a time in a directory: a lock that names who has it, and that ends with its process."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from distributed.errors import UserError
from distributed.infra.writing import told

LOCK = ".lock"
"""The file in a directory whose lock is the directory's."""


@contextmanager
def locked(directory: Path, name: str = LOCK) -> Iterator[None]:
    """Keeps other processes out of a directory, or of one file in it, while something is written there.

    The system lifts the lock when the process ends, however it does: one that is dead keeps nobody out.

    Args:
        directory: what is locked.
        name: of the file that holds the lock.

    Raises:
        UserError: another process has it; the message names that and its machine.
        WriteError: there can be no file in the directory.
    """
    path = directory / name
    lock = FileLock(path)
    with told(path):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise UserError(f"{str(directory)!r} is in use by {_holder(path)}; wait for its end, or stop it") from None
    try:
        with told(path):
            path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        # Removed while it is still locked: a process that has opened it already sees that it is gone, and tries again.
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    """Who has a lock, by what it wrote into the file."""
    try:
        said = json.loads(path.read_text())
        return f"process {said['pid']} on {said['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
