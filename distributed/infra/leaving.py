"""Ends a process whose work is done, though threads or processes that a user's code began go on."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time

GRACE_S = 15.0
"""How long they may go on when all else has ended, in seconds."""


def leave(code: int) -> SystemExit:
    """Returns what ends this process. Python would wait for threads that are no daemons for as long as they go on.

    Args:
        code: the exit status.
    """
    threads = [each for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
    processes = [each for each in multiprocessing.active_children() if not each.daemon]
    if threads or processes:
        threading.Thread(target=_end, args=(code, threads, processes), daemon=True, name="leaving").start()
    return SystemExit(code)


def _end(code: int, threads: list[threading.Thread], processes: list[multiprocessing.process.BaseProcess]) -> None:
    threading.main_thread().join()
    until = time.monotonic() + GRACE_S
    while time.monotonic() < until:
        time.sleep(0.1)
        left = [each.name for each in threads if each.is_alive()] + [each.name for each in processes if each.is_alive()]
        if not left:
            return
    for process in processes:
        process.kill()
    said = f"terraprompt: ended, though something of the world's goes on: {', '.join(left[:5])}"
    print(said, file=sys.stderr, flush=True)
    os._exit(code)
