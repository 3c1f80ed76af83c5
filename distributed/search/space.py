"""The settings that a search varies: checked before anything starts, drawn for the first members, kept in bounds."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ray import tune

from distributed.config import Range, RunConfig
from distributed.config.describe import settings
from distributed.config.load import with_settings
from distributed.config.unsupported import check_trainable
from distributed.errors import UserError, did_you_mean
from distributed.learner.prompt_init import TEXT
from distributed.rollout.instructions import Tokens, longest
from distributed.search.effects import effective, why_idle, why_same
from distributed.training.setup import check_end_tokens
from softprompt.models.frozen import FrozenLM
from terrains.loading import expanded

Settings = dict[str, Any]

SECTIONS = ("method", "optimizer", "scheduler", "ten", "warm_start")
COMMON = {
    "method.name": "is the same for all",
    "method.gen_kwargs": "decides how programs are sampled for evaluation, by which members are compared",
    "method.gen_experience_kwargs": "belongs to the rollout workers, which outlive a member",
    "warm_start.samples": "is drawn once for all members",
}
KINDS = ("method.prompt_source", "method.reparameterize", "method.residual_width", "method.prompts_per_terrain")
"""Settings that decide what makes the prompts, a table or which network, and how many there are."""

SIZE = "method.n_soft_tokens"
BATCHES = ("train.batch_size", "train.minibatch_size")
MOST_COMBINATIONS, FEW_COMBINATIONS = 500, 8
INSIDE = 0.381966
"""Where between its ends a range is tried; no round share, so that the value is not a whole number by chance."""


def check_space(config: RunConfig) -> None:
    """Checks that every member that the search could make is a run that can be made.

    Raises:
        UserError: a name is misspelt, a setting cannot differ between members, a value or a combination of values is
            not one that a run takes, or two values make one and the same run.
    """
    space = config.search.space
    for name in space:
        _check_name(name)
    _check_inheritance(config)
    for name, choices in space.items():
        for value in _examples(choices):
            _try(config, {name: value}, f"search.space.{name}")
    columns = {name: _examples(choices) for name, choices in space.items()}
    for combination in _combinations(columns, MOST_COMBINATIONS):
        _try(config, combination, "search.space")
    for name in space:
        _check_difference(config, name, columns)


def check_positions(config: RunConfig, lm: FrozenLM, instructions: Sequence[Sequence[Tokens]]) -> None:
    """Checks that the largest prompt of the space fits the language model.

    Args:
        config: settings of the search.
        lm: the language model.
        instructions: token ids of each terrain's instructions.

    Raises:
        UserError: it does not.
    """
    check_end_tokens(config, lm)
    choices = config.search.space.get(SIZE, (config.method.n_soft_tokens,))
    largest = int(choices.high) if isinstance(choices, Range) else max(choices)
    needed = with_settings(config, {SIZE: largest}).sequence_length(longest(instructions))
    if lm.max_length is not None and needed > lm.max_length:
        raise UserError(
            f"search.space.{SIZE}: {largest} soft tokens and the longest program need {needed} positions; the language "
            f"model has {lm.max_length}"
        )


def first_members(config: RunConfig) -> list[Settings]:
    """Draws the settings of the first members, evenly: values of a list recur only when all have occurred.

    The draw depends on the seed, the space and the number of members alone, so that algorithms can be compared from
    equal beginnings.
    """
    search = config.search
    draw = random.Random(config.train.seed)
    columns = {name: _column(choices, search.members, draw) for name, choices in search.space.items()}
    return [{name: column[k] for name, column in columns.items()} for k in range(search.members)]


def most_elites(config: RunConfig) -> int:
    """The most programs of a terrain that any member of the search learns from."""
    names = {"method.replay_size": config.method.replay_size, "warm_start.elites": config.warm_start.elites}
    return max(int(value) for name, base in names.items() for value in _examples(config.search.space.get(name, [base])))


def domains(space: Mapping[str, Any]) -> dict[str, Any]:
    """The space as domains of Tune's, for its record; `first_members` draws the settings."""
    return {name: _domain(c) if isinstance(c, Range) else tune.choice(list(c)) for name, c in space.items()}


def mutations(space: Mapping[str, Any]) -> dict[str, Any]:
    """The space for Tune's pbt, which moves to neighbours in a list and multiplies a number from a range."""
    return {name: _domain(choices) if isinstance(choices, Range) else list(choices) for name, choices in space.items()}


def clamp(space: Mapping[str, Any], settings: Settings) -> Settings:
    """Brings settings back into their ranges, which pbt's factors leave."""
    ranges = {name: choices for name, choices in space.items() if isinstance(choices, Range)}
    return settings | {name: min(max(settings[name], each.low), each.high) for name, each in ranges.items()}


def explore(space: Mapping[str, Any]) -> partial[Settings]:
    """What Tune calls on settings that it has moved; it can be pickled."""
    return partial(clamp, space)


def _check_name(name: str) -> None:
    known = [each.name for each in settings(RunConfig)]
    if name not in known:
        raise UserError(f"search.space: there is no setting {name}{did_you_mean(name, known)}")
    for common, why in COMMON.items():
        if f"{name}.".startswith(f"{common}."):
            raise UserError(f"search.space: {name} cannot differ between members: it {why}")
    if not name.startswith(tuple(f"{each}." for each in SECTIONS)) and name not in BATCHES:
        raise UserError(f"search.space: {name} cannot differ between members; settings of {', '.join(SECTIONS)} can")


def _check_inheritance(config: RunConfig) -> None:
    """Checks that a member can take over what any other has learnt, where the algorithm asks for that."""
    space, method = config.search.space, config.method
    if SIZE in space and _is_saved(method.initialize_from):
        raise UserError(f"method.initialize_from: a saved prompt has one size; leave {SIZE} out of search.space")
    if config.search.algorithm != "pbt":
        return
    for name in space:
        if name in KINDS or name.startswith("ten."):
            raise UserError(
                f"search.space: {name} cannot differ between members of pbt, which take over each other's prompts; "
                "leave it out, or set search.algorithm to random or asha"
            )
    if SIZE not in space:
        return
    why = {
        "method.prompt_source: the network of a ten": method.prompt_source == "ten",
        "method.reparameterize: the network behind prompts": method.reparameterize != "none",
        "model.num_layers_unfrozen: layers trained beside prompts": config.model.num_layers_unfrozen != 0,
    }
    for what, is_so in why.items():
        if is_so:
            raise UserError(
                f"{what} cannot be carried to another size; leave {SIZE} out of search.space, or set search.algorithm "
                "to random or asha"
            )


def _is_saved(said: str | None) -> bool:
    """Whether prompts start as saved ones, which have a size of their own."""
    return said is not None and not said.startswith(TEXT) and expanded(said).is_dir()


def _try(config: RunConfig, changed: Settings, where: str) -> None:
    try:
        check_trainable(with_settings(config, changed))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _examples(choices: Any) -> list[Any]:
    """Values to try: all of a list; the ends of a range and a value between."""
    if isinstance(choices, Range):
        return [choices.low, choices.high, choices.low + INSIDE * (choices.high - choices.low)]
    return list(choices)


def _combinations(columns: Mapping[str, Sequence[Any]], most: int) -> list[Settings]:
    """All combinations of values, or some drawn from them where there are more than can be tried."""
    if math.prod(len(column) for column in columns.values()) <= most:
        rows = list(itertools.product(*columns.values()))
    else:
        draw = random.Random(0)
        rows = [tuple(draw.choice(column) for column in columns.values()) for _ in range(most)]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _check_difference(config: RunConfig, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Checks that each value of a setting makes another run, beside some of the others' values at least."""
    values, others = columns[name], {other: column for other, column in columns.items() if other != name}
    few, many = (_combinations(others, most) for most in (FEW_COMBINATIONS, MOST_COMBINATIONS))
    if not _alike(config, name, values, few) or not (alike := _alike(config, name, values, many)):
        return
    why = why_idle(with_settings(config, many[0] | {name: values[0]}), name)
    if why and len(alike) == len(values):
        raise UserError(f"search.space.{name}: its values make no difference: {why}; leave it out")
    words = [json.dumps(values[k]) if not isinstance(values[k], str) else values[k] for k in alike]
    raise UserError(
        f"search.space.{name}: {', '.join(words[:-1])} and {words[-1]} make no difference: {why_same(name)}; "
        "keep one of them"
    )


def _alike(config: RunConfig, name: str, values: Sequence[Any], rows: Sequence[Settings]) -> list[int]:
    """The first values, by index, that make equal runs beside each of these values of other settings."""
    runs = [[effective(with_settings(config, {**row, name: value})) for row in rows] for value in values]
    same = ([k for k, other in enumerate(runs) if other == run] for run in runs)
    return next((each for each in same if len(each) > 1), [])


def _column(choices: Any, n: int, draw: random.Random) -> list[Any]:
    """One value for each of n members."""
    if isinstance(choices, Range):
        shares = [(k + draw.random()) / n for k in range(n)]
        draw.shuffle(shares)
        return [_within(choices, share) for share in shares]
    rounds = [draw.sample(list(choices), len(choices)) for _ in range(-(-n // len(choices)))]
    return list(itertools.chain(*rounds))[:n]


def _within(choices: Range, share: float) -> float:
    """The value at a share, from 0 to 1, of the way through a range."""
    if choices.log:
        return choices.low * (choices.high / choices.low) ** share
    return choices.low + share * (choices.high - choices.low)


def _domain(choices: Range) -> Any:
    return tune.loguniform(choices.low, choices.high) if choices.log else tune.uniform(choices.low, choices.high)
