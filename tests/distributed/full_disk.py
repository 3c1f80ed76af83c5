"""A disk that has no room, as far as this process is concerned: no file may grow beyond a size."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


def limit(size: int) -> None:
    """Lets the system refuse to write beyond so many bytes of any file; Python ignores the signal that comes along."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@contextmanager
def full_disk(size: int | None = 100) -> Iterator[None]:
    """Limits files to a size inside the block; None limits nothing until `limit` is called."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if size is not None:
            limit(size)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
