"""Limits of processor time: what a process was given counts, not what the clock says."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from terrains.sodarace import failures
from terrains.sodarace.processor_time import ProcessorTimeLimit
from terrains.sodarace.sandbox import Sandbox, SandboxLimits

SLOW = "def make_walker():\n    x = 0\n    for i in range({}):\n        x += i\n    return x\n"
ENDLESS = "def make_walker():\n    while True:\n        pass\n"
BUSY = """\
import os, sys
if len(sys.argv) > 1:
    os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
while True:
    pass
"""


@contextmanager
def running(code, *arguments):
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def limit_of():
    with ExitStack() as open_limits:

        def make(seconds, patience=100.0):
            limit = ProcessorTimeLimit(seconds, patience)
            open_limits.callback(limit.close)
            return limit

        yield make


def test_a_process_that_uses_more_is_ended(limit_of):
    with running(BUSY) as busy, limit_of(0.1).watch(busy) as watched:
        busy.wait(timeout=60)
    assert watched.ended


def test_a_process_that_gets_no_processor_is_left_alone_until_patience_ends(limit_of):
    idle = "import time; print(flush=True); time.sleep(600)"
    with running(idle) as sleeper:
        with limit_of(0.1).watch(sleeper) as watched:
            time.sleep(0.5)
        assert not watched.ended and sleeper.is_running()
        with limit_of(0.1, patience=0.3).watch(sleeper) as watched:
            sleeper.wait(timeout=60)
        assert watched.ended


def test_what_was_used_before_does_not_count(limit_of):
    with running(BUSY) as busy:
        while busy.cpu_times().user < 0.3:
            time.sleep(0.01)
        busy.send_signal(signal.SIGSTOP)
        with limit_of(0.2).watch(busy) as watched:
            time.sleep(0.4)
        assert not watched.ended and busy.is_running()


def test_what_nobody_looked_at_in_time_is_seen_at_the_end(limit_of):
    limit = limit_of(0.1)
    with running(BUSY) as busy:
        with limit.watch(busy) as watched:
            limit._changed.acquire()
            while watched.used() < 0.2:
                time.sleep(0.01)
        limit._changed.release()
        assert watched.ended and busy.is_running()


def test_a_process_that_ended_by_itself_did_not_reach_its_limit_however_late_it_is_seen(limit_of):
    brief = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", brief], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    with limit_of(0.2).watch(psutil.Process(process.pid)) as watched:
        process.communicate()
        time.sleep(0.4)
    assert process.returncode == 0 and not watched.ended


def test_a_limit_goes_on_after_close(limit_of):
    limit = limit_of(0.1)
    for _ in range(2):
        with running(BUSY) as busy, limit.watch(busy) as watched:
            busy.wait(timeout=60)
        assert watched.ended
        limit.close()
        limit.close()


def interpreters():
    return [each for each in psutil.Process().children() if "monty" in each.name()]


def test_a_program_that_is_stopped_for_longer_than_its_limit_is_no_failure():
    known = interpreters()
    with Sandbox(SandboxLimits(seconds=1.0)) as sandbox, ThreadPoolExecutor(1) as caller:
        assert sandbox.run(SLOW.format(1)).value == 0
        [worker] = [each for each in interpreters() if each not in known]
        before = worker.cpu_times().user
        outcome = caller.submit(sandbox.run, SLOW.format(1_000_000))
        while worker.cpu_times().user == before and not outcome.done():
            time.sleep(0.001)
        worker.suspend()
        time.sleep(1.2)
        worker.resume()
        assert outcome.result(timeout=60).value == 499_999_500_000


@pytest.mark.skipif(not hasattr(psutil.Process, "cpu_affinity"), reason="processes cannot be bound to a processor")
def test_outcomes_are_the_same_beside_busy_processes():
    """Three processes share the interpreter's processor: by the clock the program takes more than its limit."""
    known = interpreters()
    with Sandbox() as sandbox:
        assert sandbox.run(SLOW.format(1)).value == 0
        [worker] = [each for each in interpreters() if each not in known]
        rounds, used = 100_000, 0.0
        while used < 0.05:
            rounds, before = 2 * rounds, worker.cpu_times().user
            assert sandbox.run(SLOW.format(rounds)).value == rounds * (rounds - 1) // 2
            used = worker.cpu_times().user - before
    with Sandbox(SandboxLimits(seconds=3 * used)) as sandbox, ExitStack() as neighbours:
        sandbox.run(SLOW.format(1))
        [worker] = [each for each in interpreters() if each not in known]
        processor = worker.cpu_affinity()[0]
        worker.cpu_affinity([processor])
        for _ in range(3):
            neighbours.enter_context(running(BUSY, str(processor)))
        assert sandbox.run(SLOW.format(rounds)).value == rounds * (rounds - 1) // 2
        assert sandbox.run(ENDLESS).failure == failures.TIMEOUT


def test_every_endless_program_of_a_batch_is_a_timeout_and_the_others_are_not():
    programs = [ENDLESS if k % 2 else SLOW.format(k) for k in range(8)]
    with Sandbox(SandboxLimits(seconds=0.1), workers=2) as sandbox:
        outcomes = list(ThreadPoolExecutor(2).map(sandbox.run, programs))
    assert [o.failure for o in outcomes] == [failures.TIMEOUT if k % 2 else None for k in range(8)]
    assert {o.detail for o in outcomes if o.failure} == {"ran longer than 0.1 s"}


def test_a_program_that_raises_a_timeout_of_its_own_has_failed_otherwise(sandbox):
    assert sandbox.run("def make_walker():\n    raise TimeoutError('tired')\n").failure == failures.ERROR


def test_a_limit_that_is_closed_before_its_thread_ran_ends() -> None:
    limit = ProcessorTimeLimit(1.0, 60.0)
    with limit._changed:  # the thread is started, and cannot run yet
        limit._start()
        thread = limit._thread
        limit._thread = None
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()
