"""Which settings make a difference beside which others, so that a search does not compare a run with itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distributed.config import RunConfig
from distributed.learner.optimizers import optimizer_arguments, schedule_arguments

SECTIONS = ("method", "optimizer", "scheduler", "ten", "warm_start", "train", "model")
"""Sections whose settings may differ between members, or decide whether others make a difference."""

ONE_BY_RANKS = ("rloo", "grpo", "reinforce_pp")
"""Estimators whose advantages and loss are equal with ``advantage_shaping: rank``."""


@dataclass(frozen=True)
class Idle:
    """Settings that nothing reads under a condition.

    Attributes:
        names: full names; one that ends with a point means all that begin with it.
        when: whether it is so for a configuration.
        why: in words, for "it makes no difference: ...".
    """

    names: tuple[str, ...]
    when: Callable[[RunConfig], bool]
    why: str


@dataclass(frozen=True)
class Same:
    """A setting of which several values have one effect.

    Attributes:
        name: full name of the setting.
        of: the effect of a configuration's value; equal where the runs are.
        why: in words.
    """

    name: str
    of: Callable[[RunConfig], Any]
    why: str


def _replays(c: RunConfig) -> bool:
    return c.method.replay_weight > 0 or c.method.replay_steps > 0


def _imitates(c: RunConfig) -> bool:
    return c.warm_start.steps > 0 or c.method.replay_steps > 0


IDLE = (
    Idle(
        ("method.lam", "method.gamma", "method.cliprange_value", "method.vf_coef", "method.value_lr"),
        lambda c: c.method.estimator != "gae",
        "only method.estimator gae has a value head",
    ),
    Idle(
        ("method.es_pairs", "method.es_noise"),
        lambda c: c.method.estimator != "es",
        "only method.estimator es perturbs prompts",
    ),
    Idle(
        (
            "method.advantage_shaping", "method.log_unit", "method.ppo_epochs", "method.init_kl_coef", "method.target",
            "method.horizon", "method.kl_in", "method.cliprange", "method.scale_reward", "method.ref_mean",
            "method.ref_std", "method.cliprange_reward", "method.down_sample_to", "train.batch_size",
            "train.minibatch_size",
        ),
        lambda c: c.method.estimator == "es",
        "method.estimator es compares prompts by their rewards alone",
    ),
    Idle(
        ("method.replay_weight",),
        lambda c: c.method.estimator == "es" and c.method.replay_steps > 0,
        "method.estimator es has no loss to add it to",
    ),
    Idle(
        ("method.log_unit",),
        lambda c: c.method.advantage_shaping != "log",
        "only method.advantage_shaping log reads it",
    ),
    Idle(
        ("method.unique_rate",), lambda c: c.method.unique_target is None, "without method.unique_target nothing steers"
    ),
    Idle(
        ("method.repeats_by",),
        lambda c: c.method.repeat_discount == 0 and c.method.unique_target is None,
        "repeats cost nothing: method.repeat_discount is 0, and method.unique_target null",
    ),
    Idle(
        ("method.novelty_neighbours",),
        lambda c: c.method.novelty_weight == 0,
        "with method.novelty_weight 0 novelty is not paid",
    ),
    Idle(
        ("method.replay_bar",),
        lambda c: c.method.replay_from == "best" and c.method.prompts_per_terrain == 1,
        "method.replay_from best knows no cells",
    ),
    Idle(
        ("method.prompt_rests_at",),
        lambda c: c.method.prompts_per_terrain == 1,
        "only one of several prompts a terrain rests",
    ),
    Idle(
        ("method.replay_size",),
        lambda c: c.method.prompts_per_terrain > 1,
        "with method.prompts_per_terrain above 1 each prompt learns the best program of its cell",
    ),
    Idle(
        ("method.replay_size", "method.replay_transfer"),
        lambda c: not _replays(c),
        "with method.replay_weight 0 and method.replay_steps 0 nothing is replayed",
    ),
    Idle(
        ("method.ref_mean", "method.ref_std"),
        lambda c: c.method.scale_reward != "ref",
        "only method.scale_reward ref reads it",
    ),
    Idle(("method.horizon",), lambda c: c.method.target is None, "without method.target the coefficient stays"),
    Idle(
        ("method.target", "method.horizon", "method.kl_in"),
        lambda c: c.method.init_kl_coef == 0,
        "with method.init_kl_coef 0 the divergence never counts",
    ),
    Idle(
        ("method.initialize_from_vocab",),
        lambda c: c.method.initialize_from is not None and "method.n_soft_tokens" not in c.search.space,
        "method.initialize_from says what prompts start as",
    ),
    Idle(
        ("method.residual_width",),
        lambda c: c.method.reparameterize == "none",
        "method.reparameterize none has no network behind prompts",
    ),
    Idle(
        ("method.network_lr",),
        lambda c: c.method.reparameterize == "none" and c.method.prompt_source == "table",
        "no network makes the prompts",
    ),
    Idle(("ten.",), lambda c: c.method.prompt_source != "ten", "only method.prompt_source ten reads it"),
    Idle(("ten.id_dropout",), lambda c: not c.ten.terrain_id, "with ten.terrain_id false no terrain is told by its id"),
    Idle(
        ("method.unfrozen_lr",),
        lambda c: c.model.num_layers_unfrozen == 0,
        "with model.num_layers_unfrozen 0 no layer is trained",
    ),
    Idle(
        ("warm_start.elites", "warm_start.elites_per_step"),
        lambda c: c.warm_start.steps == 0,
        "with warm_start.steps 0 there is no warm start",
    ),
    Idle(
        ("warm_start.elites", "warm_start.elites_per_step"),
        lambda c: c.method.prompts_per_terrain > 1,
        "with method.prompts_per_terrain above 1 each prompt learns the best program of its cell",
    ),
    Idle(("warm_start.lr",), lambda c: not _imitates(c), "there are no steps of likelihood"),
    Idle(
        ("method.measure_soft_embedding_drift", "method.tune_v_head"),
        lambda c: True,
        "it does not change what is learnt",
    ),
    Idle(
        ("method.closing_steps", "method.closing_rests_at"),
        lambda c: True,
        "members are compared before the closing, which only the best one has",
    ),
)  # fmt: skip

SAME = (
    Same(
        "method.estimator",
        lambda c: (
            "ranks"
            if c.method.advantage_shaping == "rank" and c.method.estimator in ONE_BY_RANKS
            else c.method.estimator
        ),
        "with method.advantage_shaping rank they are one estimator",
    ),
    Same(
        "method.advantage_shaping",
        lambda c: (
            "none"
            if c.method.advantage_shaping == "rank" and c.method.estimator == "gae"
            else c.method.advantage_shaping
        ),
        "method.estimator gae takes rewards, not ranks",
    ),
    Same(
        "method.scale_reward",
        lambda c: c.method.scale_reward if c.method.scale_reward not in (None, False) else "ignored",
        "they mean the same",
    ),
    Same("method.cliprange_reward", lambda c: c.method.cliprange_reward or None, "null and 0 do not clip"),
    Same(
        "train.batch_size",
        lambda c: min(c.train.batch_size, c.method.num_rollouts),
        "a batch never has more than method.num_rollouts programs",
    ),
    Same(
        "train.minibatch_size",
        lambda c: min(c.train.minibatch_size or c.train.batch_size, c.train.batch_size, c.method.num_rollouts),
        "null is a whole batch, and a batch never has more than method.num_rollouts programs",
    ),
    Same(
        "method.num_rollouts",
        lambda c: c.method.num_rollouts // _es_programs(c) if c.method.estimator == "es" else c.method.num_rollouts,
        "method.estimator es samples equally many programs for each perturbation and terrain",
    ),
)


def effective(config: RunConfig) -> dict[str, Any]:
    """Returns what makes a difference in a run: its settings by full name, without those that nothing reads.

    Two configurations of one seed for which this is equal learn the same, bit for bit.
    """
    flat = _flat(config.model_dump(mode="json", include=set(SECTIONS)))
    flat |= {each.name: each.of(config) for each in SAME}
    for section, arguments in (("optimizer", optimizer_arguments(config)), ("scheduler", schedule_arguments(config))):
        flat |= {f"{section}.kwargs.{name}": value for name, value in arguments.items()}
    idle = [each for each in IDLE if each.when(config)]
    return {name: value for name, value in flat.items() if not any(_means(each, name) for each in idle)}


def why_idle(config: RunConfig, name: str) -> str | None:
    """Says why a setting makes no difference in a configuration, None where it does."""
    return next((each.why for each in IDLE if _means(each, name) and each.when(config)), None)


def why_same(name: str) -> str:
    """Says why values of a setting come to the same."""
    return next((each.why for each in SAME if each.name == name), "they are one value")


def _means(each: Idle, name: str) -> bool:
    return any(name.startswith(own) if own.endswith(".") else name == own for own in each.names)


def _es_programs(config: RunConfig) -> int:
    return 2 * config.method.es_pairs * max(1, config.terrains.count)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
