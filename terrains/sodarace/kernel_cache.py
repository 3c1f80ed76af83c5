"""How the simulator is compiled, and where it is kept so that it is compiled once.

Numba keeps a function until its own file changes, which is enough for a function that calls none of other files. It
looks for a directory beside the source and in the home directory; here is one more, for where neither can be written.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserWideCacheLocator


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function for calls from Python, without Python's lock, at its first call or from the cache.

    Args:
        function: calls no compiled functions but those that are :func:`inlined`, from its own file.
    """
    compiled: Any = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        compiled._cache = _KernelCache(function)
    except RuntimeError:
        pass  # No directory can be written to: the kernel is compiled by every process.
    return compiled


def inlined(function: Callable[..., Any]) -> Any:
    """Compiles a function as a part of each kernel that calls it, with arithmetic as it is written."""
    return numba.njit(forceinline=True, nogil=True, error_model="numpy", fastmath=False)(function)


class _TemporaryCacheLocator(UserWideCacheLocator):
    """A directory for temporary files that this user alone can write to: a cache holds code."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)
        own = Path(tempfile.gettempdir(), f"terraprompt-kernels-{os.getuid()}")
        self._cache_path = str(own / self.get_suitable_cache_subpath(py_file))

    def ensure_cache_path(self) -> None:
        own = Path(self._cache_path).parent
        own.mkdir(mode=0o700, exist_ok=True)
        status = own.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{own} is not a directory of this user alone")
        super().ensure_cache_path()


class _KernelCacheImpl(CompileResultCacheImpl):
    _locator_classes = [*CompileResultCacheImpl._locator_classes, _TemporaryCacheLocator]


class _KernelCache(FunctionCache):
    _impl_class = _KernelCacheImpl

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps what was compiled for a signature, if it can be written."""
        try:
            super().save_overload(sig, data)
        except OSError:
            pass  # The disk is full, say; this process has what it needs.
