"""Compiled kernels over slices of what they work on, on as many threads as torch has."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch


def on_threads(kernel: Callable[..., None], n: int, least: int, *arguments: Any, whole: int = 1) -> None:
    """Calls ``kernel(start, stop, *arguments)`` for slices that make up 0 to n.

    Args:
        kernel: gives up Python's lock; what it writes for one number does not depend on the slice that it is in.
        n: how much there is to do.
        least: what is worth a thread.
        arguments: the same for all slices.
        whole: slices begin at multiples of this.
    """
    threads = min(torch.get_num_threads(), n // least)
    if threads <= 1:
        kernel(0, n, *arguments)
        return
    pieces = -(-n // whole)
    bounds = [min(n, pieces * k // threads * whole) for k in range(threads + 1)]
    slices = zip(bounds, bounds[1:], strict=False)
    for done in [_threads().submit(kernel, start, stop, *arguments) for start, stop in slices]:
        done.result()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kernels")
