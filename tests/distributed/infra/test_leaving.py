"""A command that is done ends, whatever a user's code has left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEFT = """
import multiprocessing, threading, time
from distributed.infra import leaving
leaving.GRACE_S = 0.5
if __name__ == "__main__":
    {deed}
    print("done", flush=True)
    raise leaving.leave({code})
"""


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("threading.Thread(target=time.sleep, args=(600,), name='counts').start()", "counts"),
        ("multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,), name='sums').start()", "sums"),
    ],
)
def test_what_goes_on_for_ever_is_left(deed: str, said: str) -> None:
    command = [sys.executable, "-c", LEFT.format(deed=deed, code=3)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (3, "done\n")
    assert done.stderr.splitlines() == [f"terraprompt: ended, though something of the world's goes on: {said}"]


def test_what_ends_by_itself_is_waited_for() -> None:
    deed = "threading.Timer(0.2, lambda: print('last', flush=True)).start()"
    command = [sys.executable, "-c", LEFT.replace("= 0.5", "= 60.0").format(deed=deed, code=0)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\nlast\n", "")
