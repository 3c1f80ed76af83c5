"""The titles, axes and units of a run's metrics in its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

X_AXIS = "training step (updates of the prompts)"
"""Title of every curve's horizontal axis."""


class Metric(NamedTuple):
    """How a metric is drawn.

    Attributes:
        title: the chart's heading.
        axis: title of the vertical axis, its unit in brackets.
        note: a remark beside the heading.
        percent: whether it is a share, drawn from 0 to 100%.
        main: whether it is shown at once; the others are folded away.
    """

    title: str
    axis: str
    note: str = ""
    percent: bool = False
    main: bool = False


def _share(title: str, axis: str, main: bool = False) -> Metric:
    return Metric(title, f"{axis} (%)", percent=True, main=main)


_UNITS, _NATS, _LOSS = "fitness (world units)", "nats a token", "loss (no unit)"

METRICS = {
    "fitness": Metric("Mean fitness", _UNITS, "dashed: untuned", main=True),
    "best": Metric("Best fitness so far", _UNITS, "dashed: best untuned program", main=True),
    "valid": _share("Valid programs", "share of programs", main=True),
    "unique": _share("Distinct programs", "share of programs", main=True),
    "distinct": Metric("Distinct outcomes", "distinct outcomes (programs a step)"),
    "cells": Metric("Kinds of good programs", "cells above half of the untuned best (cells)", main=True),
    "qd_score": Metric("Summed fitness of the best of each kind", "QD score (summed fitness)"),
    "unique_mean": Metric("Mean fitness of the distinct programs", _UNITS),
    "entropy": Metric("Entropy", "entropy (nats a program)"),
    "policy/entropy_per_program": Metric("Entropy of the rollouts", "entropy (nats a program)"),
    "variety/unique": _share("Programs that are no repeats", "share of programs"),
    "variety/repeat_discount": Metric("Exponent of the discount for repeats", "exponent (no unit)"),
    "variety/distinctness": Metric("Mean distance within a group", "distance (share of the longest)"),
    "variety/novelty": Metric("Mean distance from the archive", "distance (share of the longest)"),
    "prompts/born": Metric("Prompts that were given another cell", "prompts (prompts a step)"),
    "failures": Metric("Failed programs by kind", "failures (programs a step)", main=True),
    "policy/kl_per_program": Metric("KL to the untuned LM", "KL divergence (nats a program)", main=True),
    "drift": Metric("Prompt drift", "distance (embedding units)", "from the first prompt, mean over rows", main=True),
    "eval/fitness": Metric("Fitness of fresh programs", _UNITS),
    "fitness/mean": Metric("Mean fitness over all terrains", _UNITS),
    "reward_std": Metric("Standard deviation of a group's rewards", "standard deviation (units of reward)"),
    "reward/mean": Metric("Mean reward", "reward (units of reward)"),
    "rollout_scores": Metric("Scores of the rollouts", "score (units of reward)"),
    "old_values": Metric("Values of the critic", "value (units of scaled reward)"),
    "values/values_error": Metric("Error of the critic", "squared error (scaled reward, squared)"),
    "values/clipfrac": _share("Values that were clipped", "share of tokens"),
    "returns": Metric("Returns", "return (units of scaled reward)"),
    "policy/approx_kl": Metric("KL of one update", f"KL divergence ({_NATS})"),
    "policy/kl_per_token": Metric("KL to the untuned LM a token", f"KL divergence ({_NATS})"),
    "policy/sqrt_kl": Metric("Root of the KL to the untuned LM", "root of KL (root of nats a token)"),
    "policy/clipfrac": _share("Ratios that were clipped", "share of tokens"),
    "ratio": Metric("Ratio of probabilities after and before", "ratio (no unit)"),
    "kl_ctl_value": Metric("Price of KL", "coefficient (reward a nat)"),
    "padding_percentage": _share("Padding", "share of tokens"),
    "losses/replay_loss": Metric("Loss of the replay", f"negative log-likelihood ({_NATS})"),
    "losses/replay_steps_loss": Metric("Loss of the replay's own steps", f"negative log-likelihood ({_NATS})"),
    "losses": Metric("Loss", _LOSS),
    "grad_norm": Metric("Norm of the gradient", "L2 norm (loss per embedding unit)"),
    "replay_grad_norm": Metric("Norm of the gradient of the replay", "L2 norm (loss per embedding unit)"),
    "moved": _share("Movement of a prompt in a step", "share of its length"),
    "learning_rate_group": Metric("Learning rate", "learning rate (no unit)"),
    "staleness": Metric("Staleness of the rollouts", "age (updates)"),
    "time": Metric("Time of a step", "time (s)"),
    "seconds": Metric("Time since the start", "time (s)"),
    "scoring/sandbox_seconds": Metric("Time in the sandbox", "time, over all threads (s)"),
    "scoring/simulation_seconds": Metric("Time in the simulation", "time, over all threads (s)"),
    "scoring": Metric("Scoring", "programs (count a step)"),
    "transfer": Metric("Programs tried on other terrains", "programs (count a step)"),
    "pool": Metric("Faults of the pool", "faults (count since the start)"),
}
"""How to draw each metric, by its name or the first part of its name."""

RENAMED = {"spread": "reward_std"}
"""First parts of names in the histories of older runs, and what they are called now."""

TOGETHER = frozenset({"failures"})
"""First parts of names: the metrics that share one are drawn in one chart, a line each."""


MEASURED = "metrics/"
"""What the names of a world's own metrics begin with."""


def described(name: str, units: Mapping[str, str] | None = None) -> Metric:
    """Returns how to draw a metric; every name has an answer.

    Args:
        name: of the metric, without a terrain.
        units: what fitness and the world's own metrics are counted in; None for world units.

    Returns:
        Its own description; else that of its first part, under a heading with the rest of the name; else its name.
    """
    if name.startswith(MEASURED):
        measured = name.removeprefix(MEASURED)
        return Metric(measured, with_unit(measured, (units or {}).get(measured, "")), "dashed: untuned", main=True)
    if name in METRICS:
        known = METRICS[name]
        own = known.axis == _UNITS and units is not None
        return known._replace(axis=with_unit("fitness", (units or {}).get("fitness", ""))) if own else known
    head, _, rest = name.partition("/")
    if head in METRICS and rest:
        known = METRICS[head]
        return known._replace(title=f"{known.title}: {rest.replace('_', ' ')}", main=False)
    if name.startswith("learning_rate_group_"):
        return METRICS["learning_rate_group"]
    return Metric(name, f"{name} (as recorded)")


def with_unit(name: str, unit: str) -> str:
    """Returns the title of an axis or a column, with a unit in brackets where that says more than the name."""
    return f"{name} ({unit})" if unit not in ("", name) else name
