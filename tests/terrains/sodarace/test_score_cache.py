"""The cache of scores: bounded, and without anything that chance decided."""

from __future__ import annotations

import pytest

from terrains.base import Score
from terrains.sodarace import failures
from terrains.sodarace.score_cache import ScoreCache, cache_key


def score(fitness):
    return Score(fitness / 100, fitness)


def test_the_score_not_asked_for_longest_makes_room():
    cache = ScoreCache(2)
    a, b, c = (cache_key(text, "print") for text in "abc")
    cache.put(a, score(1))
    cache.put(b, score(2))
    assert cache.get(a) == score(1)
    cache.put(c, score(3))
    assert (cache.get(a), cache.get(b), cache.get(c), len(cache)) == (score(1), None, score(3), 2)


def test_a_cache_of_size_0_remembers_nothing():
    cache = ScoreCache(0)
    cache.put(cache_key("a", "print"), score(1))
    assert len(cache) == 0


@pytest.mark.parametrize("kind", [failures.TIMEOUT, failures.CRASH])
def test_what_a_busy_machine_can_cause_is_not_remembered(kind):
    cache = ScoreCache(9)
    cache.put(cache_key("a", "print"), Score(-0.1, 0.0, kind))
    cache.put(cache_key("b", "print"), Score(-0.1, 0.0, failures.MEMORY))
    assert len(cache) == 1


def test_keys_tell_programs_and_terrains_apart_and_do_not_grow():
    keys = {cache_key(program, terrain) for program in ("", "a", "\ud800", "a" * 10**6) for terrain in ("x", "y")}
    assert len(keys) == 8
    assert {len(digest) for digest, _ in keys} == {16}
