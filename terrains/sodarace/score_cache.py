"""Scores remembered between calls, because a trained prompt writes the same programs again and again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from terrains.base import Score
from terrains.sodarace import failures

CHANCE = frozenset({failures.TIMEOUT, failures.CRASH})
"""Failures that a busy machine or a killed process can cause: the program deserves another try. A time limit is one of
processor time, but of that, too, a program takes a little more or less each time."""

Key = tuple[bytes, str]


def cache_key(program: str, fingerprint: str) -> Key:
    """Returns what a score is remembered by.

    Of the program it holds a hash, so that long programs take no more memory than short ones.

    Args:
        program: any text, lone surrogates included.
        fingerprint: the terrain's, which covers everything else that decides the score.
    """
    return hashlib.blake2b(program.encode("utf-8", "surrogatepass"), digest_size=16).digest(), fingerprint


class ScoreCache:
    """The scores that were asked for last. For use from one thread.

    Args:
        size: scores remembered; with 0 nothing is.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._scores: OrderedDict[Key, Score] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: Key) -> Score | None:
        """Returns the score remembered under a key, which thereby becomes the last to be forgotten."""
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def put(self, key: Key, score: Score) -> None:
        """Remembers a score, unless chance had a part in it; the one not asked for longest makes room."""
        if self.size == 0 or score.failure in CHANCE:
            return
        self._scores[key] = score
        self._scores.move_to_end(key)
        if len(self._scores) > self.size:
            self._scores.popitem(last=False)
