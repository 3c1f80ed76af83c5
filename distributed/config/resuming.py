"""Which settings of a run may change when it is resumed, and what is said of the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.errors import UserError

MAY_CHANGE = (
    # How long the run is, what it writes, shows and records.
    "train.total_steps",
    "train.checkpoint_interval",
    "train.save_best",
    "train.eval_interval",
    "train.tracker",
    "train.tags",
    "tracking",
    "evaluation",
    "method.measure_soft_embedding_drift",
    # Where it is computed.
    "compute.device",
    "ray",
    "rollouts.workers",
    "rollouts.in_flight",
    "rollouts.deadline_s",
    "rollouts.start_deadline_s",
    "rollouts.max_attempts",
    "rollouts.max_worker_memory_gb",
    "rollouts.threads_per_worker",
    "rollouts.cpus_per_worker",
    "rollouts.gpus_per_worker",
    # A single run does not use these.
    "search",
)
"""Settings, and whole sections, that a resumed run takes as given. Settings that only trlx reads may change too."""

STAYS = ("train.checkpoint_dir", "train.run_name", "train.resume_from_checkpoint")
"""Settings that say where a run is stored: a resumed run keeps its own, whatever is given."""

SPANS = {"cosine_annealing": "T_max", "linear": "total_iters"}
"""By schedule, the argument that sets its length; without it, it spans the run, whose length is then fixed."""

MOST_SHOWN = 40


def resumed(before: RunConfig, asked: RunConfig, steps: int = 0, closed: bool = False) -> RunConfig:
    """Returns the settings with which a run goes on.

    Args:
        before: those that it was begun with, or resumed with last.
        asked: those that are asked for.
        steps: how many it has made.
        closed: whether it has made its closing steps, which end a run for good.

    Raises:
        UserError: something was asked for that cannot change; the message names each such setting, and both its values.
    """
    refused = [f"{name} {_shown(old)} -> {_shown(new)}" for name, (old, new) in _changes(before, asked).items()]
    if refused:
        what = "this setting is" if len(refused) == 1 else "these settings are"
        raise UserError(
            f"{what} part of what the run began as and cannot change: {', '.join(refused)}; leave "
            f"{'it' if len(refused) == 1 else 'them'} out, or begin a new run"
        )
    if asked.train.total_steps != before.train.total_steps:
        _check_length(before, asked, steps, closed)
    kept = {name.rpartition(".")[2]: _get(before, name) for name in STAYS}
    return asked.model_copy(update={"train": asked.train.model_copy(update=kept)})


def _changes(before: RunConfig, asked: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Settings that differ and may not, with their values before and now."""
    found = {}
    for each in settings(RunConfig):
        free = each.unused or each.name in STAYS or any(f"{each.name}.".startswith(f"{name}.") for name in MAY_CHANGE)
        old, new = _get(before, each.name), _get(asked, each.name)
        if not free and old != new and not _are_alike(each.name, old, new, asked.terrains.world):
            found[each.name] = old, new
    return found


def _check_length(before: RunConfig, asked: RunConfig, steps: int, closed: bool) -> None:
    """Refuses another number of steps where the run would not be what a new one of that length is."""
    change = f"train.total_steps {before.train.total_steps} -> {asked.train.total_steps}"
    schedule = asked.scheduler
    span = SPANS.get(schedule.name)
    if span and getattr(schedule.kwargs, span) is None:
        raise UserError(
            f"{change}: the learning rate's schedule, {schedule.name}, is spread over the run's own length; only a "
            f"run that began with scheduler.kwargs.{span} can have another one"
        )
    if asked.train.total_steps < steps:
        raise UserError(f"{change}: {steps} steps are made already; resume from an earlier checkpoint")
    if closed and asked.train.total_steps > steps:
        raise UserError(
            f"{change}: the run has made its method.closing_steps, after which there are no others; resume from a "
            "checkpoint of an earlier step"
        )


def _are_alike(setting: str, old: Any, new: Any, world: str) -> bool:
    """Whether two values of a setting mean the same.

    So do terrains in other spellings, options left to their defaults, and files that lie elsewhere: whether these say
    what they said is seen by the terrains' fingerprints.
    """
    if setting not in ("terrains.names", "terrains.options", "terrains.world"):
        return False
    # Imported here: see TerrainsConfig.all_names.
    from terrains.loading import names_file
    from terrains.registry import catalogue, find_world, is_light, read_options, with_paths

    if setting == "terrains.world":
        return names_file(old) and names_file(new) and Path(old).name == Path(new).name
    if setting == "terrains.names" and not new and world != "sodarace":
        return True  # those that the world lists, which the run noted
    try:
        if setting == "terrains.options":
            known = [read_options(find_world(world), with_paths(world, each, lambda _: "")) for each in (old, new)]
            return known[0] == known[1]
        if not is_light(world):
            return False
        canonical = catalogue(world).canonical_name
        return [canonical(name) for name in old] == [canonical(name) for name in new]
    except ValueError:
        return False


def _get(config: RunConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _shown(value: Any) -> str:
    """A value as it looks in YAML, cut to a length that leaves room for others."""
    plain: Any = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    if isinstance(plain, Mapping):
        plain = {name: inner for name, inner in plain.items() if inner is not None}
    text = json.dumps(plain, default=str, ensure_ascii=False)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
