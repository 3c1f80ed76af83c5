"""trlx's sweep files, turned into the settings of a search."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.load import parse_config
from distributed.config.trlx_2022 import MOVED, renamed
from distributed.config.trlx_files import ILQL, flat, is_sweep
from distributed.config.yaml_files import read_sections
from distributed.errors import UserError, did_you_mean
from terrains.loading import expanded

logger = logging.getLogger("terraprompt")

TUNE = "tune_config"
NUMBERS = {
    "uniform": (2, 2),
    "quniform": (3, 3),
    "loguniform": (2, 3),
    "qloguniform": (3, 4),
    "randn": (2, 2),
    "qrandn": (3, 3),
    "randint": (2, 2),
    "qrandint": (3, 3),
    "lograndint": (2, 3),
    "qlograndint": (3, 4),
}
"""Fewest and most numbers of each strategy: two ends (or mean and deviation), a step, and the base of a logarithm."""

LISTS = ("choice", "grid")
SCHEDULERS = {"fifo": "random", "hyperband": "asha", "hyperbandforbohb": "asha"}
MOST_VALUES = 32
"""Most values of the list that stands for a range of whole numbers or multiples; they are evenly spaced."""

SEARCHED = ("method.", "optimizer.", "scheduler.", "ten.", "warm_start.", "train.batch_size", "train.minibatch_size")


def load_search(config: str | Path, sweep: str | Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads the configuration of a search.

    Args:
        config: YAML file with the settings of its runs; or a sweep of trlx's, whose runs then have the defaults.
        sweep: a sweep of trlx's, which says what differs between them.
        overrides: settings that come before those of both files.

    Raises:
        UserError: as `load_config` does, or a sweep cannot be understood.
    """
    found = search_sections(config, sweep)
    if found.notes:
        logger.warning("%s is a sweep of trlx's and is read so: %s", found.sweep, "; ".join(found.notes))
    parsed = parse_config(found.sections, overrides, found.source)
    from distributed.config.worlds import with_whole_paths  # which imports the configuration itself

    return with_whole_paths(parsed, expanded(config).absolute().parent)


class SearchSections(NamedTuple):
    """The settings of a search, as its files have them.

    Attributes:
        sections: those of its runs, with a section ``search`` made from the sweep where there is one.
        source: the file that problems come from.
        sweep: the file that is a sweep of trlx's, empty where there is none.
        notes: what became of what the sweep says, in words.
    """

    sections: dict[str, Any]
    source: str
    sweep: str = ""
    notes: tuple[str, ...] = ()


def search_sections(config: str | Path, sweep: str | Path | None = None) -> SearchSections:
    """Reads the files of a search, or the one file of a run; see ``load_search``.

    Raises:
        UserError: a file is not there or no YAML, or a sweep cannot be understood.
    """
    sections = dict(read_sections(config))
    if sweep is None:
        if not is_sweep(sections):
            return SearchSections(sections, str(config))
        swept, sections, said = sections, {}, str(config)
    else:
        swept, said = dict(read_sections(sweep)), str(sweep)
        if not is_sweep(swept):
            raise UserError(f"--sweep: {said} is no sweep of trlx's: it has no {TUNE}, and no strategies")
        if is_sweep(sections):
            raise UserError(f"--config: {config} is a sweep too; name a file with the settings of a run")
    try:
        found, fixed, notes = translate_sweep(swept)
    except UserError as error:
        raise UserError(f"{said}: {error}") from None
    base = sections.get("search")
    merged = {**sections, "search": {**(base if isinstance(base, dict) else {}), **found}}
    for name, value in fixed.items():
        _put(merged, name, value)
    return SearchSections(merged, str(config), said, tuple(notes))


def translate_sweep(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Turns a sweep into settings.

    Returns:
        The settings of the section ``search``; settings by full name that have one value in all runs; and what became
        of the rest, in words.

    Raises:
        UserError: it cannot be understood, or asks for what a search does not do.
    """
    space: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    notes: list[str] = []
    crossed = 1
    nested = flat(data)
    for name, said in nested.items():
        if name == TUNE:
            continue
        if name not in data and not (isinstance(said, dict) and "strategy" in said):
            fixed[name] = said
            continue
        name = _full_name(name)
        if name.startswith("method.") and name.removeprefix("method.") in ILQL:
            raise UserError(f"{name} is a setting of trlx's ILQL, which is not here; take a sweep of PPO")
        values = _choices(name, said)
        crossed *= len(values) if said["strategy"] == "grid" else 1
        if isinstance(values, list) and len(values) == 1:
            fixed[name] = values[0]
        elif name.startswith(SEARCHED):
            space[name] = values
            if said["strategy"] not in ("uniform", "loguniform", *LISTS):
                notes.append(f"{name}: {said['strategy']} is a list of {len(values)} values")
        else:
            notes.append(f"{name} cannot differ between members and is left out")
    if not space:
        raise UserError("there is nothing in it that can differ between members")
    found = _tune(data.get(TUNE) or {}, crossed, notes)
    return {**found, "space": space}, fixed, notes


def _full_name(name: str) -> str:
    """The full name that a setting has today; the sweeps of early 2023 name settings without their sections."""
    if "." in name:
        return renamed(name)
    if name in ILQL:
        return f"method.{name}"
    known = [each.name for each in settings(RunConfig) if each.name.startswith(SEARCHED)]
    old = [new for (_, key), new in MOVED.items() if key == name]
    return next((each for each in [*old, *known] if each in old or each.endswith(f".{name}")), name)


def _tune(said: Any, crossed: int, notes: list[str]) -> dict[str, Any]:
    """What ``tune_config`` says, as settings of a search; the rest becomes notes."""
    if not isinstance(said, dict):
        raise UserError(f"{TUNE}: must be settings of its own, indented below it")
    if (said.get("mode") or "max") != "max":
        raise UserError(f"{TUNE}.mode: {said['mode']}: a search looks for the highest fitness; set it to max")
    notes.append(
        f"{TUNE}.metric is the fitness of fresh programs" + (f", not {m}" if (m := said.get("metric")) else "")
    )
    scheduler = said.get("scheduler") or "fifo"
    if scheduler not in SCHEDULERS:
        raise UserError(
            f"{TUNE}.scheduler: must be {', '.join(SCHEDULERS)}, not {scheduler}" + did_you_mean(scheduler, SCHEDULERS)
        )
    algorithm = SCHEDULERS[scheduler]
    notes.append(f"{TUNE}.scheduler {scheduler} is search.algorithm {algorithm}")
    search_alg = said.get("search_alg") or "random"
    if search_alg in ("bayesopt", "bohb"):
        notes.append(f"{TUNE}.search_alg {search_alg} is not here, and settings are drawn at random")
    elif search_alg != "random":
        known = ("random", "bayesopt", "bohb")
        raise UserError(
            f"{TUNE}.search_alg: must be {', '.join(known)}, not {search_alg}{did_you_mean(search_alg, known)}"
        )
    found: dict[str, Any] = {"algorithm": algorithm}
    if "num_samples" in said:
        if not isinstance(said["num_samples"], int) or said["num_samples"] < 1:
            raise UserError(f"{TUNE}.num_samples: must be a whole number above 0, not {said['num_samples']}")
        found["members"] = said["num_samples"] * crossed
    if said.get("max_concurrent_trials"):
        found["concurrent"] = said["max_concurrent_trials"]
    if crossed > 1:
        notes.append(f"values of a grid are drawn evenly, for {crossed} members a sample")
    read = ("mode", "metric", "scheduler", "search_alg", "num_samples", "max_concurrent_trials")
    notes += [f"{TUNE}.{name} has no effect" for name in said if name not in read and said[name] is not None]
    return found


def _choices(name: str, said: Any) -> Any:
    """A setting's values: a list, or a range as ``search.space`` has it."""
    strategy, values = (None, None) if not isinstance(said, dict) else (said.get("strategy"), _values(said))
    if strategy is None or values is None:
        raise UserError(f"{name}: must have a strategy and values")
    if strategy not in (*NUMBERS, *LISTS):
        raise UserError(f"{name}: there is no strategy {strategy}{did_you_mean(strategy, (*NUMBERS, *LISTS))}")
    if not isinstance(values, list) or not values:
        raise UserError(f"{name}: values must be a list with something in it, not {values}")
    if strategy in LISTS:
        return values
    least, most = NUMBERS[strategy]
    values = [_number(each) for each in values]
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    if not (len(numbers) == len(values) and least <= len(values) <= most):
        raise UserError(
            f"{name}: {strategy} takes {least if least == most else f'{least} or {most}'} numbers, not {values}"
        )
    low, high, step = values[0], values[1], values[2] if strategy.startswith("q") else 1
    if "randn" in strategy:
        return _normal(name, low, high, step if strategy == "qrandn" else None)
    log = "log" in strategy
    if low >= high or (log and low <= 0) or step <= 0:
        raise UserError(
            f"{name}: {strategy} takes a lower end{' above 0' if log else ''}, then a higher one, not {values}"
        )
    if strategy in ("uniform", "loguniform"):
        return {"low": low, "high": high, "log": log}
    end = high - 1 if strategy in ("randint", "lograndint") else high  # whose upper end is not drawn
    return _multiples(low, end, step, log)


def _values(said: Mapping[str, Any]) -> Any:
    """The values of a strategy, which were ``bounds`` or ``choices`` in 2022."""
    return next((said[name] for name in ("values", "bounds", "choices") if name in said), None)


def _number(value: Any) -> Any:
    """A number that YAML takes for text because it has an exponent and no point; anything else as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _multiples(low: float, high: float, step: float, log: bool) -> list[float]:
    """Multiples of a step between two ends, all of them or some that are spread evenly."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first < MOST_VALUES:
        multiples: Sequence[int] = range(first, last + 1)
    else:
        shares = [k / (MOST_VALUES - 1) for k in range(MOST_VALUES)]
        least = max(first, 1)
        spread = (least * (last / least) ** s if log else first + (last - first) * s for s in shares)
        multiples = list(dict.fromkeys(round(each) for each in spread))
    return [_rounded(k * step) for k in multiples]


def _normal(name: str, mean: float, deviation: float, step: float | None) -> list[float]:
    """Values in the middle of equally likely parts of a normal distribution, as multiples of a step if there is one."""
    if deviation <= 0:
        raise UserError(f"{name}: randn takes a mean and a deviation above 0, not {deviation}")
    drawn = [NormalDist(mean, deviation).inv_cdf((k + 0.5) / MOST_VALUES) for k in range(MOST_VALUES)]
    return list(dict.fromkeys(_rounded(each if step is None else round(each / step) * step) for each in drawn))


def _rounded(value: float) -> float:
    """The number to ten digits, which drops rounding errors; whole numbers stay whole."""
    return value if isinstance(value, int) else float(f"{value:.10g}")


def _put(sections: dict[str, Any], name: str, value: Any) -> None:
    """Sets a setting by its full name in sections that are not shared."""
    *path, last = name.split(".")
    for part in path:
        inner = sections.get(part)
        sections[part] = dict(inner) if isinstance(inner, dict) else {}
        sections = sections[part]
    sections[last] = value
