"""Signals and broken pipes end a run in good order."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from distributed.infra.signals import Interrupted, exit_status, interruptible, say_last


@pytest.fixture(autouse=True)
def handlers_of_before() -> Iterator[list[int]]:
    """Takes what would end this process otherwise."""
    heard: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, lambda number, _: heard.append(number)) for each in numbers}
    yield heard
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_raises_once(handlers_of_before: list[int], number: int, status: int) -> None:
    with interruptible() as received:
        with pytest.raises(Interrupted):
            signal.raise_signal(number)
        assert received == [number] and exit_status(received[0]) == status
        signal.raise_signal(signal.SIGHUP)  # a terminal that is closed sends more than one
        assert handlers_of_before == []
        signal.raise_signal(signal.SIGTERM)
        assert handlers_of_before == [signal.SIGTERM]
    signal.raise_signal(signal.SIGHUP)
    assert handlers_of_before == [signal.SIGTERM, signal.SIGHUP]


def test_a_hangup_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible() as received:
        signal.raise_signal(signal.SIGHUP)
        assert not received


def test_outside_of_the_main_thread_signals_and_output_stay_as_they_are(handlers_of_before: list[int]) -> None:
    found: list[object] = []

    def work() -> None:
        with interruptible() as received:
            found.extend([received, sys.stdout, signal.getsignal(signal.SIGINT)])

    before = [[], sys.stdout, signal.getsignal(signal.SIGINT)]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == before and signal.getsignal(signal.SIGINT) is before[2]


@pytest.mark.parametrize("raising", [True, False])
def test_a_broken_pipe_counts_as_its_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raising: bool
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with interruptible(raising) as received:
            print("first", flush=True)
            assert os.read(reading, 100) == b"first\n" and not received
            os.close(reading)
            try:
                print("second", flush=True)
                raised = False
            except Interrupted:
                raised = True
            print("third", flush=True)
            assert (received, raised) == ([signal.SIGPIPE], raising)
            say_last("the end")
        assert sys.stdout is pipe
        print("fourth", flush=True)
    assert capsys.readouterr().err == "the end\n" and exit_status(received[0]) == 141


def test_a_terminal_that_is_gone_before_the_signal_comes_counts_as_a_hangup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with interruptible(raising=False) as received:
            print("first", flush=True)
            os.close(ours)
            print("second", flush=True)
            signal.raise_signal(signal.SIGHUP)  # the system's
            assert received == [signal.SIGHUP]
            say_last("the end")
    assert capsys.readouterr().err == "the end\n" and exit_status(received[0]) == 129


def test_a_terminal_that_is_gone_ends_nothing_where_hangups_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with interruptible() as received:
            os.close(ours)
            print("first", flush=True)
            print("second", flush=True)
        assert not received
