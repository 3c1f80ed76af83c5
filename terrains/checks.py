"""What a user's world returns, checked: one line says what is wrong with it, and nothing of it is changed later on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from terrains.base import Score, Terrain
from terrains.errors import WorldError, one_line

LONGEST_KIND = 60
"""Characters of a failure kind: it becomes part of a metric's name."""


def checked_scores(answer: Any, count: int, said: str) -> list[Score]:
    """Returns what a world's ``score`` returned, if it is one Score an attempt; numbers as Python's own.

    Args:
        answer: what it returned.
        count: the number of attempts.
        said: what messages call the world.

    Raises:
        WorldError: it is something else.
    """
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        raise WorldError(f"{said}: score returned {kind_of(answer)}, and not a list of terrains.Score")
    if len(answer) != count:
        raise WorldError(f"{said}: score returned {len(answer)} scores for {count} attempts")
    return [_checked_score(each, f"{said}: ", place) for place, each in enumerate(answer)]


def _checked_score(score: Any, said: str, place: int) -> Score:
    if not isinstance(score, Score):
        raise WorldError(f"{said}score returned {kind_of(score)} for attempt {place}, and not a terrains.Score")
    if not isinstance(score.reward, Real) or not isinstance(score.fitness, Real):
        raise WorldError(f"{said}the Score of attempt {place} has a reward or fitness that is no number")
    if score.failure is not None and not (isinstance(score.failure, str) and score.failure.strip()):
        raise WorldError(f"{said}the Score of attempt {place} has a failure that is no text")
    try:
        tokens = tuple(_number(each) for each in score.token_rewards)
    except (TypeError, ValueError):
        raise WorldError(f"{said}the Score of attempt {place} has token_rewards that are no numbers") from None
    failure = None if score.failure is None else one_line(score.failure, LONGEST_KIND)
    detail = score.detail if isinstance(score.detail, str) and score.detail.isprintable() else one_line(score.detail)
    try:
        told = tuple(_number(each) for each in score.descriptors)
    except (TypeError, ValueError):
        raise WorldError(f"{said}the Score of attempt {place} has descriptors that are no numbers") from None
    if not isinstance(score.identity, str):
        raise WorldError(f"{said}the Score of attempt {place} has an identity that is no text")
    return Score(_number(score.reward), _number(score.fitness), failure, detail, tokens, told, score.identity)


def checked_terrain(found: Any, said: str, name: str) -> Terrain:
    """Returns what a world's ``terrain`` returned, if it is one, with a copy of its features.

    Raises:
        WorldError: it is something else, or its parts are not what they should be.
    """
    if not isinstance(found, Terrain):
        raise WorldError(f"{said}: terrain({name!r}) returned {kind_of(found)}, and not a terrains.Terrain")
    if not isinstance(found.name, str) or not isinstance(found.fingerprint, str):
        raise WorldError(f"{said}: terrain({name!r}) has a name or fingerprint that is no text")
    if not all(isinstance(each.text, str) for each in found.all_instructions):
        raise WorldError(f"{said}: terrain({name!r}) has an instruction that is no text")
    try:
        features = np.array(found.features, np.float32)
    except (TypeError, ValueError):
        raise WorldError(f"{said}: terrain({name!r}) has features that are no numbers") from None
    if features.ndim != 1 or not np.isfinite(features).all():
        raise WorldError(f"{said}: terrain({name!r}) has features that are not one row of finite numbers")
    return replace(found, features=features)


def checked_counts(found: Any, said: str) -> dict[str, float]:
    """Returns what a world's ``counters`` returned, if it is numbers by name.

    Raises:
        WorldError: it is something else.
    """
    if not isinstance(found, Mapping) or not all(isinstance(each, Real) for each in found.values()):
        raise WorldError(f"{said}: counters returned {kind_of(found)}, and not numbers by name")
    return {str(name): _number(value) for name, value in found.items()}


def kind_of(value: object) -> str:
    """Returns what something is, in words."""
    word = type(value).__name__
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer that no float can hold
        return math.inf
