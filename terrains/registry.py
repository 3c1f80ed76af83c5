"""Finds worlds by name: those that come along, ``package.module:Class``, ``my_world.py:MyWorld``, and entry points.

A world's class has the methods of :class:`terrains.base.World`. Where it has an attribute ``Config``, a pydantic model,
it is made with an instance of it, and otherwise without arguments. A world from a file travels as the file's text, so
that it can be made where the file is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from terrains.base import World
from terrains.calls import Calls
from terrains.errors import WorldError, did_you_mean, one_line
from terrains.guarded import guarded_by
from terrains.loading import expanded, load_object, names_file, source_of, split_reference

GROUP = "terraprompt.worlds"
"""The group of entry points in which a package names its worlds."""

METHODS = ("terrain", "score", "close")


@dataclass(frozen=True)
class BuiltIn:
    """A world that comes along.

    Attributes:
        reference: to its class.
        settings: reference to its model of settings, which is imported without the class.
        catalogue: module with its static methods, see `terrains.optional.Naming`; empty for none.
        paths: reference to a function that replaces paths in its settings; empty for none.
        problems: reference to a function that finds what is wrong with what settings name; empty for none.
        waits: whether it calls functions of a user's, which its setting ``threads`` is the number of, and not of
            threads that compute.
    """

    reference: str
    settings: str
    catalogue: str = ""
    paths: str = ""
    problems: str = ""
    waits: bool = False


BUILT_IN = {
    "sodarace": BuiltIn(
        "terrains.sodarace.world:SodaraceWorld",
        "terrains.sodarace.settings:WorldConfig",
        "terrains.sodarace.ground.catalogue",
    ),
    "functions": BuiltIn(
        "terrains.functions.world:FunctionsWorld",
        "terrains.functions.config:FunctionsConfig",
        paths="terrains.functions.paths:with_paths",
        problems="terrains.functions.tasks:problems",
        waits=True,
    ),
}


@dataclass(frozen=True)
class WorldSource:
    """Where a world's class comes from. It can be pickled.

    Attributes:
        name: what the settings and messages call it.
        reference: ``package.module:Class`` or ``file.py:Class``.
        text: what the file says; None for a module.
    """

    name: str
    reference: str
    text: str | None = None


def find_world(name: str, text: str | None = None) -> WorldSource:
    """Finds a world; a file is read, and nothing is imported.

    Args:
        name: one that comes along, the name of an entry point, ``package.module:Class`` or ``file.py:Class``.
        text: what the file says, where it is known already.

    Raises:
        WorldError: there is no such world or file; the message names the nearest one.
    """
    if name in BUILT_IN:
        return WorldSource(name, BUILT_IN[name].reference)
    if ":" not in name:
        installed = {each.name: each.value for each in entry_points(group=GROUP)}
        if name in installed:
            return WorldSource(name, installed[name])
        hint = did_you_mean(name, [*BUILT_IN, *installed])
        raise WorldError(
            f"there is no world {name!r}{hint or '; there are ' + ', '.join([*BUILT_IN, *installed])}, and worlds of "
            "your own, written as package.module:Class or my_world.py:MyWorld"
        )
    if text is None:
        source = source_of(name)
        text = source.text if source else None
    return WorldSource(name, name, text)


def load_world(source: WorldSource) -> type:
    """Imports a world's class.

    Raises:
        WorldError: it cannot be imported, or is no world; the message names the line of the user's file.
    """
    try:
        found = load_object(source.reference, text=source.text)
    except WorldError as error:
        raise WorldError(f"the world {source.name!r}: {error}" if source.name in BUILT_IN else str(error)) from None
    if not isinstance(found, type):
        raise WorldError(f"{source.name} is {type(found).__name__!r}, and not a class")
    missing = [each for each in METHODS if not callable(getattr(found, each, None))]
    if missing:
        public = [each for each in vars(found) if not each.startswith("_")]
        raise WorldError(
            f"{source.name} is no world: it has no method {missing[0]}{did_you_mean(missing[0], public)}; a world has "
            "name, terrain(name), score(attempts) and close()"
        )
    if not isinstance(getattr(found, "name", None), str):
        raise WorldError(f"{source.name} is no world: it has no attribute name, such as name = 'my_world'")
    return found


def catalogue(name: str) -> Any:
    """Returns what has a world's static methods `terrains.optional.Naming` and `Sampling`, if it has any.

    Raises:
        WorldError: as `find_world` and `load_world`.
    """
    if name in BUILT_IN:
        where = BUILT_IN[name].catalogue
        return import_module(where) if where else None
    return load_world(find_world(name))


def is_light(name: str) -> bool:
    """Whether a world's settings and its terrains' names can be checked without importing the world."""
    return name in BUILT_IN and bool(BUILT_IN[name].catalogue)


def options_model(source: WorldSource) -> type[BaseModel] | None:
    """Returns the model of a world's settings, None for a world without any; raises as `load_world` does."""
    if source.name in BUILT_IN:
        model = load_object(BUILT_IN[source.name].settings)
    else:
        model = getattr(load_world(source), "Config", None)
    if model is not None and not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise WorldError(f"{source.name}: its attribute Config has to be a class that inherits from pydantic.BaseModel")
    return model


def with_paths(name: str, options: Mapping[str, Any], find: Callable[[str], str]) -> dict[str, Any]:
    """Returns a world's settings with other paths of files.

    Args:
        name: the world.
        options: its settings, which need not be right.
        find: returns the path that stands for one that is written there.
    """
    where = BUILT_IN[name].paths if name in BUILT_IN else ""
    return dict(load_object(where)(options, find)) if where else dict(options)


def problems_of(source: WorldSource, options: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong with what a world's settings name, as far as that is known without making the world.

    Args:
        source: the world.
        options: its settings, which are right by themselves.
    """
    where = BUILT_IN[source.name].problems if source.name in BUILT_IN else ""
    return list(load_object(where)(read_options(source, options))) if where else []


def computes_in_threads(source: WorldSource) -> bool:
    """Whether a world has a setting ``threads`` that says how many processors it uses; raises as `load_world` does."""
    model = options_model(source)
    waits = source.name in BUILT_IN and BUILT_IN[source.name].waits
    return model is not None and "threads" in model.model_fields and not waits


def read_options(source: WorldSource, options: Mapping[str, Any]) -> BaseModel | None:
    """Checks a world's settings.

    Raises:
        WorldError: there is no such setting, or a value is not one that it takes; the message begins with its name.
    """
    model = options_model(source)
    if model is None:
        if options:
            raise WorldError(f"{next(iter(options))}: the world {source.name} takes no options: it has no Config")
        return None
    names = {name for key, field in model.model_fields.items() for name in (key, field.alias) if name}
    unknown = [name for name in options if name not in names]
    if unknown and model.model_config.get("extra") != "allow":  # which pydantic ignores where nothing is said
        near = did_you_mean(unknown[0], names)
        raise WorldError(
            f"{unknown[0]}: no such setting{near or '; there are ' + (', '.join(sorted(names)) or 'none')}"
        )
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise WorldError(_explained(error, model)) from None


def make_world(
    source: WorldSource,
    options: Mapping[str, Any],
    luggage: Mapping[str, Any] | None = None,
    deadline_s: float = 300.0,
    watched: bool = True,
    fingerprints: Mapping[str, str] | None = None,
) -> World:
    """Makes a world, behind the checks of `terrains.guarded` where a user's code is called.

    A ``functools.partial`` of this can be pickled.

    Args:
        source: where its class comes from.
        options: its settings.
        luggage: more arguments of its class; see `terrains.optional.Travelling`.
        deadline_s: longest that a call may take, in seconds, where it is checked.
        watched: whether the process is ended when such a call holds Python's lock for longer; see `terrains.calls`.
        fingerprints: of terrains, by their names, as another process has them, where that is checked.

    Raises:
        WorldError: as `load_world` and `read_options`, or its constructor raises, or takes too long.
    """
    cls, settings = load_world(source), read_options(source, options)
    built_in = BUILT_IN.get(source.name)
    make = partial(cls, *([] if settings is None else [settings]), **(luggage or {}))
    if built_in and not built_in.waits:
        return make()
    # What comes along keeps the deadlines of functions itself.
    calls = Calls(source.name, _files(source), deadline_s, apart=built_in is None, watched=watched)
    return guarded_by(calls, calls.do("its constructor", make), source.name, fingerprints)


@lru_cache(maxsize=32)
def sampled(
    name: str, families: tuple[str, ...], count: int, difficulty: tuple[float, float], split: str, seed: int
) -> tuple[str, ...]:
    """Draws terrains of a world from families; see `terrains.optional.Sampling`.

    Raises:
        ValueError: the world draws no terrains, or they cannot be drawn.
    """
    found = getattr(catalogue(name), "sample_terrains", None)
    if found is None:
        raise WorldError(f"the world {name} draws no terrains; name them in terrains.names")
    return tuple(found(families, count, difficulty, split, seed))


def _files(source: WorldSource) -> list[str]:
    if source.text is None or not names_file(source.reference):
        return []
    return [str(expanded(split_reference(source.reference)[0]).absolute())]


def _explained(error: ValidationError, model: type[BaseModel]) -> str:
    """The first of pydantic's errors in one line that names the setting, and the nearest one to a misspelt name."""
    # A misspelt name comes first: what is missing is often what it was to be.
    first = next((each for each in error.errors() if each["type"] == "extra_forbidden"), error.errors()[0])
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{name}: has to be given"
    if first["type"] == "extra_forbidden":
        known = _names_at(model, first["loc"])
        near = did_you_mean(first["loc"][-1], known)
        return f"{name}: no such setting{near or '; there are ' + (', '.join(known) or 'none')}"
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return one_line(f"{name}: {said}, not {first['input']!r}" if name else said)


def _names_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Names of the settings that there are where one is, of models in lists, dicts and unions too."""
    here = [model]
    for part in place[:-1]:
        inner = [each.model_fields[part].annotation for each in here if part in each.model_fields]
        here = [found for each in inner for found in _models(each)] or here
    return sorted({name for each in here for key, field in each.model_fields.items() for name in [field.alias or key]})


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation has in it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for each in get_args(annotation) for found in _models(each)]
