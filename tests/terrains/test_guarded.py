"""Hostile worlds: each gets one clear line, none hangs, none shifts a score, and none writes between a run's lines."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from terrains.base import Attempt, Instruction, Score, Terrain
from terrains.errors import WorldError
from terrains.guarded import guarded
from terrains.optional import Counting, Describing, Listing, niches_of

GOOD = Score(1.0, 1.0)
ATTEMPTS = [Attempt("a", "x"), Attempt("b", "y")]


class Hostile:
    """A world that does what it is told."""

    name = "hostile"

    def __init__(self, score=None, terrain=Terrain, close=lambda: None):
        self._score, self._terrain, self._close = score, terrain, close

    def terrain(self, name):
        return self._terrain(name)

    def score(self, attempts):
        return self._score(attempts)

    def close(self):
        self._close()


class Unprintable(Exception):
    """An error that cannot even be shown."""

    def __str__(self):
        raise RuntimeError("no")


def raises(error):
    def deed(*_):
        raise error

    return deed


def emptied(attempts):
    scores = []
    while attempts:
        scores.append(Score(float(ord(attempts.pop().program)), 0.0))
    return scores


def ordered(attempts):
    attempts.sort(key=lambda attempt: attempt.program, reverse=True)
    return [Score(float(ord(attempt.program)), 0.0) for attempt in attempts]


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (lambda attempts: 1 / 0, "score raised .*: ZeroDivisionError: division by zero"),
        (raises(ValueError("so\nmuch\n\tto say")), "score raised .*: ValueError: so much to say"),
        (raises(ValueError()), "score raised .*: ValueError"),
        (raises(Unprintable()), "score raised .*: Unprintable"),
        (lambda attempts: sys.exit(), "score raised .*: SystemExit"),
        (raises(KeyboardInterrupt()), "score raised .*: KeyboardInterrupt"),
        (raises(GeneratorExit()), "score raised .*: GeneratorExit"),
        (lambda attempts: [GOOD], "score returned 1 scores for 2 attempts"),
        (lambda attempts: [GOOD] * 3, "score returned 3 scores for 2 attempts"),
        (lambda attempts: [GOOD, 1.0], "score returned a float for attempt 1, and not a terrains.Score"),
        (lambda attempts: None, "score returned a NoneType, and not a list of terrains.Score"),
        (lambda attempts: (GOOD for _ in attempts), "score returned a generator, and not a list of terrains.Score"),
        (lambda attempts: {0: GOOD, 1: GOOD}, "score returned a dict, and not a list of terrains.Score"),
        (lambda attempts: np.ones(2), "score returned a ndarray, and not a list of terrains.Score"),
        (lambda attempts: [GOOD, Score("much", 1.0)], "the Score of attempt 1 has a reward or fitness that is no num"),
        (lambda attempts: [GOOD, Score(1.0, np.ones(1))], "the Score of attempt 1 has a reward or fitness that is no"),
        (lambda attempts: [GOOD, Score(1.0, 1.0, 7)], "the Score of attempt 1 has a failure that is no text"),
        (lambda attempts: [GOOD, Score(1.0, 1.0, " ")], "the Score of attempt 1 has a failure that is no text"),
        (
            lambda attempts: [GOOD, Score(1.0, 1.0, token_rewards=("a",))],
            "the Score of attempt 1 has token_rewards that are no numbers",
        ),
        (
            lambda attempts: [GOOD, Score(1.0, 1.0, descriptors=("a",))],
            "the Score of attempt 1 has descriptors that are no numbers",
        ),
        (
            lambda attempts: [GOOD, Score(1.0, 1.0, identity=7)],
            "the Score of attempt 1 has an identity that is no text",
        ),
        (lambda attempts: attempts.clear() or [], "score returned 0 scores for 2 attempts"),
        (emptied, "score changed the list of attempts"),
        (ordered, "score changed the list of attempts"),
        (lambda attempts: time.sleep(60), "score has not come back after 0.2 s with 2 attempts on 'a', 'b'; a longer "),
    ],
)
def test_a_hostile_world_is_named_in_one_line(deed, said: str) -> None:
    attempts = list(ATTEMPTS)
    world = guarded(Hostile(deed), "my_world.py:Hostile", deadline_s=0.2 if "0.2" in said else 60.0)
    with pytest.raises(WorldError, match=f"^my_world.py:Hostile: {said}") as raised:
        world.score(attempts)
    assert "\n" not in str(raised.value) and attempts == ATTEMPTS
    world.close()


def test_a_world_that_hangs_is_not_waited_for_twice() -> None:
    go = threading.Event()
    world = guarded(Hostile(lambda attempts: go.wait(60)), "w", deadline_s=0.2)
    for said in ("score has not come back", "score still works on an earlier call"):
        with pytest.raises(WorldError, match=said):
            world.score(ATTEMPTS)
    world.close()
    go.set()


def test_numbers_of_any_kind_are_pythons_own_and_no_score_is_changed_afterwards() -> None:
    kept = [
        Score(np.float32(0.5), np.int64(2), "odd\nkind" * 20, "two\nlines", np.array([0.25, 0.25]), np.ones(2), "me"),
        Score(10**400, True),
    ]
    world = guarded(Hostile(lambda attempts: tuple(kept)), "w")
    first, second = world.score(ATTEMPTS)
    object.__setattr__(kept[0], "reward", -1.0)
    assert (first.reward, first.fitness, first.token_rewards, first.detail) == (0.5, 2.0, (0.25, 0.25), "two lines")
    assert [type(each) for each in (first.reward, first.fitness, *first.token_rewards)] == [float] * 4
    assert first.failure is not None and len(first.failure) <= 60 and "\n" not in first.failure
    assert (first.descriptors, first.identity) == ((1.0, 1.0), "me")
    assert (second.reward, second.fitness) == (float("inf"), 1.0)


def test_what_a_world_changes_is_its_own_copy() -> None:
    given = np.arange(3.0)

    def deed(attempts):
        given[:] = 0
        object.__setattr__(attempts[0], "program", "other")
        return [GOOD] * 2

    world = guarded(Hostile(deed, lambda name: Terrain(name, features=given)), "w")
    features = world.terrain("a").features
    attempts = [Attempt("a", "x"), Attempt("b", "y")]
    world.score(attempts)
    assert features.tolist() == [0.0, 1.0, 2.0] and attempts[0].program == "x"


@pytest.mark.parametrize(
    ("terrain", "said"),
    [
        (raises(ValueError("there is no terrain 'a'")), "there is no terrain 'a'$"),
        (raises(KeyError("a")), r"w: terrain\('a'\) raised .*: KeyError: 'a'"),
        (raises(SystemExit(0)), r"w: terrain\('a'\) raised .*: SystemExit: 0"),
        (lambda name: None, r"w: terrain\('a'\) returned a NoneType"),
        (lambda name: time.sleep(60), r"w: terrain\('a'\) has not come back after 0.2 s"),
        (lambda name: Terrain(name, features=np.ones((2, 2))), r"w: terrain\('a'\) has features that are not one row"),
        (
            lambda name: Terrain(name, features=np.array([np.nan])),
            r"w: terrain\('a'\) has features that are not one row",
        ),
        (lambda name: Terrain(name, features=["x"]), r"w: terrain\('a'\) has features that are no numbers"),
        (lambda name: Terrain(7), r"w: terrain\('a'\) has a name or fingerprint that is no text"),
        (
            lambda name: Terrain(name, instructions=(Instruction(7),)),
            r"w: terrain\('a'\) has an instruction that is no",
        ),
    ],
)
def test_a_terrain_that_is_none_is_one_line(terrain, said: str) -> None:
    with pytest.raises(WorldError, match=f"^{said}"):
        guarded(Hostile(terrain=terrain), "w", deadline_s=0.2 if "0.2" in said else 60.0).terrain("a")


def test_a_terrain_that_is_another_each_time_is_one_line() -> None:
    names = iter("abc")
    world = guarded(Hostile(terrain=lambda name: Terrain(name, next(names))), "w")
    world.terrain("a")
    with pytest.raises(WorldError, match=r"w: terrain\('a'\) is another terrain each time, "):
        world.terrain("a")


def test_prints_of_any_kind_are_one_line_however_many(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    libc = ctypes.PyDLL(None)  # which keeps Python's lock while it writes

    def deed(attempts):
        print("python says this")
        print("and this", file=sys.stderr)
        other = threading.Thread(target=lambda: print("from a thread"))
        other.start()
        other.join()
        for number in (1, 2):
            libc.write(number, b"c says this\n" * 50_000, 600_000)
            os.system(f"echo a process says this >&{number}")
        return [GOOD] * 2

    world = guarded(Hostile(deed), "w")
    print("before", flush=True)
    with caplog.at_level(logging.WARNING, "terraprompt"):
        world.score(ATTEMPTS)
        world.score(ATTEMPTS)
    print("after", flush=True)
    assert capfd.readouterr() == ("before\nafter\n", "")
    [said] = caplog.messages
    assert said == "w prints 'python says this'; this, and what it prints after it, is not shown"


def test_only_c_prints(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    world = guarded(Hostile(lambda attempts: os.write(2, b"\n\xff c \x1b[2J says\n") and [GOOD] * 2), "w")
    world.score(ATTEMPTS)
    assert capfd.readouterr() == ("", "") and "w prints" in caplog.text and "c [2J says" in caplog.text


def test_a_process_that_a_world_forked_never_comes_back_into_the_program(tmp_path: Path) -> None:
    def deed(attempts):
        if child := os.fork():
            (tmp_path / "child").write_text(str(os.waitpid(child, 0)[1]))
        return [GOOD] * 2

    world = guarded(Hostile(deed), "w")
    assert world.score(ATTEMPTS) == [GOOD] * 2
    (tmp_path / "scored").open("a").write("once ")
    assert (tmp_path / "scored").read_text() == "once " and (tmp_path / "child").read_text() == "0"


@pytest.mark.parametrize(
    ("close", "said"),
    [
        (raises(OSError("no\nmore")), r"w: close raised .*: OSError: no more; all else goes on"),
        (raises(SystemExit(3)), r"w: close raised .*: SystemExit: 3"),
        (lambda: time.sleep(60), r"w: close has not come back after 0.2 s"),
    ],
)
def test_a_world_that_does_not_close_is_one_line(
    close, said: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terrains.guarded.CLOSING_S", 0.2 if "0.2" in said else 60.0)
    guarded(Hostile(close=close), "w").close()
    [line] = caplog.messages
    assert re.match(said, line) and "\n" not in line


def test_all_calls_are_made_by_one_thread() -> None:
    seen = []
    world = guarded(
        Hostile(
            lambda attempts: seen.append(threading.get_ident()) or [GOOD] * 2,
            lambda name: seen.append(threading.get_ident()) or Terrain(name),
            lambda: seen.append(threading.get_ident()),
        ),
        "w",
    )
    world.terrain("a")
    world.score(ATTEMPTS)
    world.score(ATTEMPTS)
    world.close()
    assert len(seen) == 4 and len(set(seen)) == 1 and seen[0] != threading.get_ident()


class Adding(Hostile):
    """A world that adds what it should not."""

    niches = ("height",)

    def default_names(self):
        raise LookupError("no such\nplace")

    def counters(self):
        return {"calls": "many"}


def test_what_a_world_adds_is_checked_too() -> None:
    world = guarded(Adding(), "w")
    assert isinstance(world, Describing) and isinstance(world, Counting) and isinstance(world, Listing)
    with pytest.raises(WorldError, match=r"^the world hostile: its niches are a tuple, and not terrains"):
        niches_of(world)
    with pytest.raises(WorldError, match=r"^w: default_names raised .*: LookupError: no such place$"):
        world.default_names()
    with pytest.raises(WorldError, match=r"^w: counters returned a dict, and not numbers by name$"):
        world.counters()


STANDS_STILL = """
import ctypes, os, sys
from terrains.base import Attempt, Terrain
from terrains.guarded import guarded
class World:
    name = "w"
    def terrain(self, name): return Terrain(name)
    def score(self, attempts):
        ctypes.PyDLL(None).sleep(600)  # PyDLL keeps Python's lock
    def close(self): pass
guarded(World(), "my_world.py:World", deadline_s=1.0).score([Attempt("uphill", "x")])
"""


def test_a_world_that_holds_pythons_lock_ends_the_process_with_one_line() -> None:
    began = time.monotonic()
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STANDS_STILL)], capture_output=True, text=True, timeout=120
    )
    assert found.returncode == -9 and time.monotonic() - began < 100
    assert found.stderr == (
        "terraprompt: my_world.py:World: score has not come back after 1 s with 1 attempts on 'uphill', and lets "
        "nothing else run, so this process is ended; its last checkpoint stays\n"
    )
