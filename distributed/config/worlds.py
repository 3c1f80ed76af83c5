"""From settings to the world that they name: found, checked, made here, or made by a factory elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from distributed.config import RunConfig
from distributed.errors import UserError
from distributed.infra.passwords import HIDDEN, secrets_in, without_secrets
from terrains.base import World
from terrains.errors import WorldError
from terrains.guarded import Guarded
from terrains.loading import described, expanded, names_file, split_reference
from terrains.optional import Keeping, Travelling, niches_of
from terrains.registry import WorldSource, computes_in_threads, find_world, is_light, read_options, with_paths
from terrains.registry import make_world as make

KEPT = "world.py"
"""File in a run's folder: what the file of its world said when the run began or went on last."""

KEPT_READ = "world.json"
"""File in a run's folder: what its world had read of other files then; see `terrains.optional.Keeping`."""

WITHIN = 0.9
"""Share of a request's deadline that scoring may take: so that it is the world that is named, and not the worker."""


def source_of_world(config: RunConfig, folder: Path | None = None) -> WorldSource:
    """Finds the world of a run; a folder's own copy of its file comes first.

    Raises:
        UserError: there is none.
    """
    name = config.terrains.world
    try:
        kept = folder / KEPT if folder is not None and names_file(name) else None
        return find_world(name, kept.read_text("utf-8") if kept is not None and kept.is_file() else None)
    except WorldError as error:
        raise UserError(f"terrains.world: {error}") from None
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot read {str(kept)!r}: {error}") from None


def options_of(config: RunConfig, source: WorldSource) -> dict[str, Any]:
    """Returns a world's settings; the ``threads`` it computes in are the workers' where nothing is said.

    Raises:
        UserError: the world cannot be imported, or a setting is not what it takes.
    """
    options = dict(config.terrains.options)
    try:
        if computes_in_threads(source):
            options.setdefault("threads", config.rollouts.threads_per_worker)
    except WorldError as error:
        raise UserError(f"terrains.world: {error}") from None
    try:
        read_options(source, options)
    except WorldError as error:
        raise UserError(f"terrains.options.{error}") from None
    return options


def make_world(
    config: RunConfig, folder: Path | None = None, functions: Mapping[str, Callable[..., Any]] | None = None
) -> World:
    """Makes the world of a run.

    Args:
        config: settings of the run.
        folder: of the run, where it has one already.
        functions: those that settings of the world of reward functions name and that lie in no file.

    Raises:
        UserError: there is no such world, it cannot be made, or a setting of it is wrong.
    """
    source = source_of_world(config, folder)
    luggage = _luggage(folder / KEPT_READ if folder is not None else None) or {}
    try:
        given = {"functions": functions} if functions else {}
        world = make(source, options_of(config, source), luggage | given, WITHIN * config.rollouts.deadline_s)
        niches_of(world)  # one that has something else under that name is told at once
        return world
    except WorldError as error:
        raise UserError(f"terrains.world: {error}") from None


def _luggage(kept: Path | None) -> dict[str, Any] | None:
    """What a world is given of a file with what it had read, if there is such a file."""
    try:
        return {"kept": json.loads(kept.read_text("utf-8"))} if kept is not None and kept.is_file() else None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {str(kept)!r}: {error}") from None


def to_keep(config: RunConfig, world: World, folder: Path | None = None) -> dict[str, str]:
    """Returns what a run's folder keeps of its world's files: texts by the names of files.

    Args:
        config: settings of the run.
        world: the run's world.
        folder: of the run, where its own copies served.
    """
    text = source_of_world(config, folder).text
    files = {} if text is None else {KEPT: text}
    if isinstance(world, Keeping) and (kept := world.keep()):
        with suppress(TypeError, ValueError):  # data that JSON cannot hold stay in their file alone
            files[KEPT_READ] = json.dumps(kept)
    return files


def files_are_gone(config: RunConfig) -> bool:
    """Whether a file that the settings of a run's world name is not there any more."""
    name = config.terrains.world
    named = [split_reference(name)[0]] if names_file(name) else []

    def noted(path: str) -> str:
        named.append(path)
        return path

    with_paths(name, config.terrains.options, noted)
    return not all(_exists(expanded(path)) for path in named)


def _exists(path: Path) -> bool:
    """Whether there is such a file; of what is too long for a path there is none."""
    try:
        return path.exists()
    except OSError:
        return False


def names_of(config: RunConfig, world: World) -> tuple[str, ...]:
    """Returns the names of all terrains of a run, those that are sampled last.

    A user's world draws them itself: its file may be gone, of which the run's folder has a copy.

    Raises:
        UserError: they cannot be drawn as it is said.
    """
    terrains, drawn = config.terrains, config.terrains.sample
    draw = None if is_light(terrains.world) else getattr(world, "sample_terrains", None)
    try:
        if draw is None:
            return terrains.all_names()
        arguments = list(drawn.families), drawn.count, drawn.difficulty, drawn.split, drawn.seed
        sampled = tuple(draw(*arguments)) if drawn.count else ()
    except ValueError as error:
        raise UserError(f"terrains.sample: {error}") from None
    except Exception as error:
        raise UserError(f"terrains.sample: {terrains.world}: {described(error)}") from error
    if len(sampled) != drawn.count or len({*terrains.names, *sampled}) < len(terrains.names) + drawn.count:
        raise UserError(
            f"terrains.sample: {terrains.world} was asked for {drawn.count} terrains that differ, and drew "
            f"{', '.join(map(str, sampled)) or 'none'}"
        )
    return terrains.names + sampled


def world_factory(config: RunConfig, world: World | None = None, folder: Path | None = None) -> Callable[[], World]:
    """Returns a picklable factory of the run's world; what the world reads from files travels with it.

    Args:
        config: settings of the run.
        world: the world, where it is made already.
        folder: of the run, where it has one already.

    Raises:
        UserError: as `make_world` does, or a terrain's file is not there.
    """
    source = source_of_world(config, folder)
    options = options_of(config, source)
    here = world if world is not None else make_world(config, folder)
    try:
        names = names_of(config, here)
        luggage = dict(here.luggage(names)) if isinstance(here, Travelling) else {}
        tasks = [here.terrain(name) for name in names] if isinstance(here, Guarded) else []
    except ValueError as error:
        raise UserError(f"terrains.names: {error}") from None
    finally:
        if world is None:
            here.close()
    fingerprints = {task.name: task.fingerprint for task in tasks}
    watched = not config.ray.enabled  # workers on Ray are watched by their pool
    return partial(make, source, options, luggage, WITHIN * config.rollouts.deadline_s, watched, fingerprints)


def world_metadata(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Returns what a registered model says of its world, from which `world_of_metadata` makes it again.

    Whoever reads the registry reads this: passwords and keys among the world's settings are left out.
    """
    text = source_of_world(config, folder).text
    said = {"world": config.terrains.world, "world_options": without_secrets(config.terrains.options)}
    return said if text is None else {**said, "world_source": text}


def world_of_metadata(said: Mapping[str, Any], kept: Path | None = None) -> World:
    """Makes the world of a registered model; one that says nothing is of sodarace.

    Args:
        said: what the model says of it.
        kept: file with what the world had read of files, where the model brings one along.

    Raises:
        UserError: it cannot be made.
    """
    options = said.get("world_options") or {}
    if "terrain_seconds" in said:
        options = {"seconds": said["terrain_seconds"]}
    for name, value in secrets_in(options, "terrains.options"):
        if value == HIDDEN:
            raise UserError(f"the model's world: {name} was not registered with it, as it looks like a password or key")
    try:
        return make(find_world(said.get("world", "sodarace"), said.get("world_source")), options, _luggage(kept))
    except WorldError as error:
        raise UserError(f"the model's world: {error}") from None


def with_whole_paths(config: RunConfig, folder: Path) -> RunConfig:
    """Returns settings whose world, and what it reads of files, are named by absolute paths.

    Args:
        config: settings as they are written.
        folder: that of the configuration file, where a relative path is looked for after the current one.

    Raises:
        UserError: the settings name a file in a way that is none.
    """

    def whole(written: str) -> str:
        path = expanded(written)
        return str(next((each for each in (path, folder / path) if _exists(each)), path).absolute())

    name, terrains = config.terrains.world, config.terrains
    try:
        if names_file(name):
            place, cls = split_reference(name)
            name = f"{whole(place)}:{cls}"
        options = with_paths(name, terrains.options, whole)
    except WorldError as error:
        raise UserError(f"terrains: {error}") from None
    terrains = terrains.model_copy(update={"world": name, "options": options})
    return config.model_copy(update={"terrains": terrains})
