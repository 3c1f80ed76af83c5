"""Ends a process whose Python stands still: C code that holds Python's lock stops every thread, deadlines included.

Run as a script this is the watchdog, a process of its own that hears a beat from the other one twice a second. It
imports the standard library alone, so that it is there at once.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BEAT_S = 0.5
"""Seconds between two beats."""


class Watchdog:
    """Ends this process with one line on standard error when, within a block, its Python stands still for too long."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._parent = 0

    @contextmanager
    def watching(self, said: str, deadline_s: float) -> Iterator[None]:
        """Watches while the block runs.

        Args:
            said: the line that is said when this process is ended.
            deadline_s: how long it may stand still, in seconds.
        """
        over = threading.Event()
        self._tell(f"+{round(deadline_s / BEAT_S) + 1} {' '.join(said.split())}\n")
        beats = threading.Thread(target=self._beat, args=(over,), daemon=True, name="beats")
        beats.start()
        try:
            yield
        finally:
            over.set()
            beats.join()
            self._tell("-\n")

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(BEAT_S):
            self._tell(".\n")

    def _tell(self, line: str) -> None:
        """Writes to the watchdog, which is started when it is first needed; without one there is nothing to do."""
        with self._lock, suppress(OSError):
            if self._process is None or self._parent != os.getpid():
                command = [sys.executable, "-I", "-S", __file__]
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0)
                self._parent = os.getpid()
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode("utf-8", "replace"))


WATCHDOG = Watchdog()
"""That of this process."""


def watch() -> None:
    """Watches the parent process until it is gone. Beats are counted, and no clock: a stopped process has no beats."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent may go on to end in good order
        signal.signal(each, signal.SIG_IGN)
    parent, heard = os.getppid(), b""
    most = missed = 0
    said = ""
    while os.getppid() == parent:
        if not select.select([0], [], [], BEAT_S if most else 60.0)[0]:
            missed += 1
            if most and missed > most:
                clear = "\r\x1b[?25h" if os.isatty(2) else ""  # a live table hides the cursor
                with suppress(OSError):
                    os.write(2, f"{clear}terraprompt: {said}\n".encode("utf-8", "replace"))
                os.kill(parent, signal.SIGKILL)
                return
            continue
        piece = os.read(0, 1 << 16)
        if not piece:
            return
        *lines, heard = (heard + piece).split(b"\n")
        for line in lines:
            missed = 0
            if line.startswith(b"+"):
                number, _, text = line[1:].decode("utf-8", "replace").partition(" ")
                most, said = int(number), text
            elif line.startswith(b"-"):
                most = 0


if __name__ == "__main__":
    watch()
