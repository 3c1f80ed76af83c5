"""From reward functions and prompts, as trlx's users give them, to the settings of the world of reward functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from distributed.errors import UserError, did_you_mean
from terrains.functions.given import PREFIX
from terrains.functions.instructions import ARGUMENTS

TASK = "task"
"""Name of the one terrain where prompts are a list."""

WORLD = "functions"
INSTRUCTIONS, FOR_EVALUATION = ("instructions", "data"), ("eval_instructions", "eval_data", "eval_fraction")
"""Settings of a terrain that prompts take the place of."""


class Tasks:
    """Turns arguments into the section ``terrains``, and notes the functions among them.

    Args:
        section: the section that a configuration has; it is not changed.

    Attributes:
        functions: functions by the names that settings call them.
    """

    def __init__(self, section: Mapping[str, Any]) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        self._section: dict[str, Any] = dict(section) if section.get("world") == WORLD else {"world": WORLD}
        self._options = _section("terrains.options", self._section.get("options"))
        own = _section("terrains.options.terrains", self._options.get("terrains"))
        self._terrains = {name: _section(f"terrains.options.terrains.{name}", each) for name, each in own.items()}

    def section(self, reward_fn: Any, prompts: Any, eval_prompts: Any, metric_fn: Any) -> dict[str, Any]:
        """Returns the section ``terrains``.

        Args:
            reward_fn: see `terraprompt.train`.
            prompts: likewise.
            eval_prompts: likewise.
            metric_fn: likewise.

        Raises:
            UserError: something is missing, or not what it should be.
        """
        if prompts is not None:
            self._take_prompts(prompts)
        elif not self._terrains:
            raise UserError("prompts: have to be given: a list of texts, or {name: texts} for several soft prompts")
        if eval_prompts is not None:
            self._take_eval_prompts(eval_prompts)
        if reward_fn is not None:
            self._take_reward(reward_fn)
        elif not self._options.get("reward") and not all(each.get("reward") for each in self._terrains.values()):
            raise UserError(NO_REWARD)
        if metric_fn is not None:
            self._options["metric"] = self._named(metric_fn, "metric_fn")
        return {**self._section, "options": {**self._options, "terrains": self._terrains}}

    def _take_prompts(self, prompts: Any) -> None:
        own = prompts if _is_by_terrain(prompts) else {TASK: prompts}
        if not own:
            raise UserError("prompts: are empty")
        kept = {}
        for name, texts in _by_name("prompts", own).items():
            rows = _rows(f"prompts[{name!r}]" if own is prompts else "prompts", texts)
            kept[name] = {**_without(self._terrains.get(name, {}), INSTRUCTIONS), "instructions": rows}
        self._terrains = kept
        self._section |= {"names": list(kept)}

    def _take_eval_prompts(self, prompts: Any) -> None:
        if _is_by_terrain(prompts):
            if not prompts:
                raise UserError("eval_prompts: are empty; leave them out to evaluate on prompts")
            named = self._named_by_terrain("eval_prompts", prompts)
            rows = {name: _rows(f"eval_prompts[{name!r}]", texts) for name, texts in named.items()}
        else:
            rows = dict.fromkeys(self._terrains, _rows("eval_prompts", prompts))
        for name, own in rows.items():
            self._terrains[name] = {**_without(self._terrains[name], FOR_EVALUATION), "eval_instructions": own}

    def _take_reward(self, reward: Any) -> None:
        for each in self._terrains.values():
            each.pop("reward", None)
        if not isinstance(reward, Mapping) or "name" in reward:
            self._options["reward"] = self._named(reward, "reward_fn")
            return
        named = self._named_by_terrain("reward_fn", reward)
        self._options.pop("reward", None)
        for name in self._terrains:
            if name not in named:
                raise UserError(f"reward_fn: has none for the terrain {name!r}")
            self._terrains[name]["reward"] = self._named(named[name], f"reward_fn[{name}]")

    def _named(self, said: Any, name: str) -> Any:
        """What settings say of a function, a reward that comes along, or several; functions are noted by a name."""
        if isinstance(said, str):
            return said
        if isinstance(said, Mapping) and "name" in said:
            own = {str(key): _plain(f"{name}, {key!r}", value) for key, value in said.items() if key != "name"}
            return {"name": self._named(said["name"], name), **own}
        if isinstance(said, list | tuple) and said:
            return [self._named(each, f"{name}[{k}]") for k, each in enumerate(said)]
        if not callable(said):
            raise UserError(
                f"{name}: is {type(said).__name__!r}; give a function, the name of a reward that comes along, such as "
                "'length', {'name': ..., its settings}, or a list of these"
            )
        self.functions[f"{PREFIX}{name}"] = said
        return f"{PREFIX}{name}"

    def _named_by_terrain(self, argument: str, given: Mapping[Any, Any]) -> dict[str, Any]:
        """What an argument has for terrains, all of which there are."""
        named = _by_name(argument, given)
        for name in named:
            if name not in self._terrains:
                known = did_you_mean(name, self._terrains) or f"; there are {', '.join(self._terrains)}"
                raise UserError(f"{argument}: there are no prompts for {name!r}{known}")
        return named


NO_REWARD = (
    "reward_fn: has to be given, or a config whose terrains have a reward: a function "
    "reward_fn(samples, prompts, outputs, tokenizer, **metadata) that returns a number for each sample, or the name of "
    "a reward that comes along, such as 'length'"
)


def _is_by_terrain(prompts: Any) -> bool:
    """Whether prompts are those of several terrains, and not a list of them."""
    return isinstance(prompts, Mapping) and not isinstance(prompts.get("prompt"), str)


def _by_name(argument: str, given: Mapping[Any, Any]) -> dict[str, Any]:
    """What an argument has, by the names of terrains; a number is the name that it is written as."""
    named: dict[str, Any] = {}
    for name, value in given.items():
        if not isinstance(name, str | int):
            raise UserError(f"{argument}: {name!r:.60} is no name of a terrain; write a text")
        if str(name) in named:
            raise UserError(f"{argument}: has {str(name)!r} twice, as a text and as a number")
        named[str(name)] = value
    return named


def _section(name: str, said: Any) -> dict[str, Any]:
    """A section of settings, empty where there is none."""
    if not isinstance(said, Mapping | None):
        raise UserError(f"{name}: is {type(said).__name__!r}, and no section with settings")
    return dict(said or {})


def _without(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def _rows(place: str, prompts: Any) -> list[Any]:
    """Prompts as the settings have them: texts, or dicts of plain data."""
    if isinstance(prompts, str | bytes | Mapping):
        raise UserError(f"{place}: is one prompt; write a list of them, [...]")
    try:
        rows = list(prompts)
    except TypeError:
        raise UserError(f"{place}: is {type(prompts).__name__!r}, and not a list of texts") from None
    if not rows:
        raise UserError(f"{place}: is empty")
    return [_row(f"{place}[{k}]", row) for k, row in enumerate(rows)]


def _row(place: str, row: Any) -> Any:
    if isinstance(row, str):
        return row
    if not isinstance(row, Mapping):
        raise UserError(f"{place}: is {type(row).__name__!r}; write a text, or a dict with a text under 'prompt'")
    for name in row:
        if name in ARGUMENTS:
            raise UserError(f"{place}: {name!r} is an argument of every reward function; call this field otherwise")
    return {str(name): _plain(f"{place}, {name!r}", value) for name, value in row.items()}


def _plain(place: str, value: Any) -> Any:
    """A value as JSON has it, which a run's directory keeps; arrays are lists."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_listed))
    except ValueError:
        raise UserError(f"{place}: is NaN or infinite, or holds itself; use None where there is nothing") from None
    except TypeError:
        raise UserError(
            f"{place}: is {type(value).__name__!r}; a run keeps numbers, texts, lists and dicts of them: give a key, "
            "and look up what it stands for in the reward function"
        ) from None


def _listed(value: Any) -> Any:
    """What numpy, torch and pandas hold, as numbers and lists."""
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    raise TypeError
