"""How kernels are compiled, and where they are kept, so that each is compiled once and computes the same ever after.

Sums in kernels may be reordered, so that two compilations of one function may differ in the last bit. Two rules keep
that out of results:

- A kernel is one piece of machine code: functions that it calls are made part of it (:func:`inlined`). A call of a
  function compiled elsewhere would be bound, when the code is loaded, to the first function of that name: to the one
  compiled by itself where the process compiled, and to a copy optimised with its caller where the caller came from the
  cache.
- What is kept of a kernel is used as long as no source file beside this one has changed. Numba looks at the file of
  the kernel alone, and would go on with the arithmetic of an older version of what it calls.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from filelock import FileLock, Timeout
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, UserWideCacheLocator

REORDERED_SUMS = {"reassoc", "contract", "nsz"}
"""Sums may be taken in another order, which is what vector instructions need; it is the same in every call."""

PATIENCE_S = 300.0
"""How long a process waits for another one to compile a kernel before it does so itself, seconds."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function for calls from Python, without Python's lock, at its first call or from the cache.

    A kernel calls no other kernel, only functions that are :func:`inlined`.

    Args:
        function: takes arrays and numbers, and writes its results into arrays.
    """
    compiled: Any = numba.njit(nogil=True, error_model="numpy", fastmath=REORDERED_SUMS)(function)
    try:
        compiled._cache = KernelCache(function)
    except RuntimeError:
        pass  # No directory can be written to: the kernel is compiled by every process.
    return compiled


def inlined(fastmath: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """Returns a decorator of functions that become part of each kernel that calls them, and are kept nowhere else.

    Args:
        fastmath: what may be done with the function's own arithmetic. Numba would otherwise take what the first caller
            allows.
    """
    return numba.njit(forceinline=True, nogil=True, error_model="numpy", fastmath=fastmath)


class KernelCache(FunctionCache):
    """Numba's cache of one function, with one lock for all processes and for all its signatures.

    While one process compiles, the others wait for what it will keep. The lock also holds together an index and its
    data, which numba writes one after the other.
    """

    def __init__(self, py_func: Callable[..., Any]) -> None:
        """Looks for a directory.

        Args:
            py_func: the function.

        Raises:
            RuntimeError: no directory can be written to.
        """
        super().__init__(py_func)
        self._cache_file = IndexDataCacheFile(self.cache_path, self._impl.filename_base, sources())
        self._lock = FileLock(Path(self.cache_path, f"{self._impl.filename_base}.lock"), PATIENCE_S, thread_local=False)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Returns what is kept for a signature; None if nothing is, and then holds the lock until that is saved."""
        try:
            self._lock.acquire()
        except (OSError, NotImplementedError, Timeout):
            pass  # Compiled twice, it is the same.
        found = super().load_overload(sig, target_context)
        if found is not None:
            self._lock.release()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps what was compiled for a signature, if it can be written, and gives up the lock."""
        try:
            super().save_overload(sig, data)
        except OSError:
            pass  # The disk is full, say; this process has what it needs.
        finally:
            self._lock.release()


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
    """Numba's places for a cache, beside the source or in the home directory, and one more."""

    _locator_classes = [*CompileResultCacheImpl._locator_classes, _TemporaryCacheLocator]


KernelCache._impl_class = _KernelCacheImpl


@cache
def sources() -> str:
    """A digest of all that kernels are made of: every source file beside this one, and the compiler's versions."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
