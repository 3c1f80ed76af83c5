"""Builds the parts of a run: the world, its terrains, the language model, the workers and a directory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as hf_logging

from distributed.config import BUNDLED, BUNDLED_LM, RunConfig
from distributed.config.load import with_settings
from distributed.config.packaged_models import command_for
from distributed.config.worlds import names_of, world_factory
from distributed.errors import UserError
from distributed.infra.paths import lasting
from distributed.infra.ray_cluster import connect_ray, is_our_own, resource_summary, room_for
from distributed.infra.writing import temporary, told, why
from distributed.rollout.instructions import Tokens, longest
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.pool import Pool
from distributed.rollout.ray_pool import RayPool
from distributed.rollout.worker import RolloutWorker
from softprompt.models.chat import ChatError, has_template, make_chat
from softprompt.models.frozen import FrozenLM
from softprompt.sampling import GenerationConfig
from softprompt.sampling.decoders import way_of_decoding
from softprompt.sampling.decoders.cache_check import can_use_cache
from terrains.base import World
from terrains.optional import Listing

logger = logging.getLogger("terraprompt")


def with_names(world: World, config: RunConfig) -> RunConfig:
    """Returns the settings with the terrains that the world lists, where none is named.

    Raises:
        UserError: it lists none, or too many for the programs of a step.
    """
    if config.terrains.count:
        return config
    names = tuple(world.default_names()) if isinstance(world, Listing) else ()
    if not names:
        raise UserError(f"terrains.names: must have at least 1 of them: the world {config.terrains.world} lists none")
    return with_settings(config, {"terrains.names": list(names)})


def terrain_names(world: World, config: RunConfig) -> list[str]:
    """Returns the canonical names of the run's terrains.

    Raises:
        UserError: a name is misspelt, or two are one terrain.
    """
    try:
        terrains = [world.terrain(name) for name in names_of(config, world)]
    except ValueError as error:
        raise UserError(f"terrains.names: {error}") from None
    first: dict[str, str] = {}
    for terrain in terrains:
        same = first.get(terrain.fingerprint)
        if same is not None:
            both = same if same == terrain.name else f"{same}, which is the same as {terrain.name},"
            raise UserError(f"terrains.names: {both} is there more than once under two spellings")
        first[terrain.fingerprint] = terrain.name
    return [terrain.name for terrain in terrains]


def load_lm(config: RunConfig) -> FrozenLM:
    """Loads the run's language model.

    Raises:
        UserError: it is not there, or its device is not, or it cannot be read behind soft prompts, or is to be talked
            to and has no template for that.
    """
    path = config.model.model_path
    if command := command_for(path):
        raise UserError(f"model.model_path: there is nothing at {path!r} yet: {command}")
    device = device_of(config.compute.device)
    if path == BUNDLED:
        # It loads at once; a progress bar is for models that are downloaded.
        hf_logging.disable_progress_bar()
    try:
        chat = make_chat(**config.chat.model_dump())
        lm = FrozenLM.load(
            BUNDLED_LM if path == BUNDLED else path, config.compute.dtype, device, chat, config.compute.quantization
        )
        cached = can_use_cache(lm.model)
    except ChatError as error:
        raise UserError(f"chat.template: {error}") from None
    except ValueError as error:
        raise UserError(f"model.model_path: {error}") from None
    if not cached:
        kind = lm.model.config.model_type
        logger.warning("%s models cannot go on from what they have read: each token reads all before it again", kind)
    return lm


def about_lm(config: RunConfig, lm: FrozenLM) -> str:
    """One line on a language model that does not come along: of what kind it is, and how programs are sampled from it.

    Args:
        config: settings of the run.
        lm: its language model, as `load_lm` returned it.
    """
    model = lm.model
    ray, rollouts = config.ray.enabled, config.rollouts
    device = ("cuda" if rollouts.gpus_per_worker > 0 else "cpu") if ray else model.device.type
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    numbers = config.compute.quantization or str(lm.embedding.dtype).removeprefix("torch.")
    said = (
        f"language model {config.model.model_path}: {model.config.model_type}, {millions:,.1f} million parameters in "
        f"{numbers}, sampled on {device} by {way_of_decoding(model, device)}"
    )
    unused = lm.chat is None and has_template(lm.tokenizer)
    return f"{said}; its chat template is not used (chat.template)" if unused else said


def device_of(name: str) -> str:
    """Returns the device of a setting; raises UserError where this machine has none of that name."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (AssertionError, RuntimeError):
        raise UserError(f"compute.device: there is no {name} that torch can use here; set it to auto or cpu") from None
    return name


def check_end_tokens(config: RunConfig, lm: FrozenLM) -> None:
    """Checks that the configured end tokens are tokens of the language model.

    Raises:
        UserError: one is not, as in a configuration for another model: programs would never end.
    """
    for name, kwargs in (
        ("gen_kwargs", config.method.gen_kwargs),
        ("gen_experience_kwargs", config.method.rollout_kwargs),
    ):
        beyond = [token for token in kwargs.end_tokens or () if token >= lm.vocab_size]
        if beyond:
            raise UserError(
                f"method.{name}.eos_token_id: {beyond[0]} is no token of the language model, which has 0 to "
                f"{lm.vocab_size - 1}; leave it out for the model's own"
            )


def check_positions(config: RunConfig, lm: FrozenLM, instructions: Sequence[Sequence[Tokens]]) -> None:
    """Checks that soft prompt, instruction and longest program together fit the language model.

    Raises:
        UserError: they do not.
    """
    check_end_tokens(config, lm)
    needed = config.sequence_length(longest(instructions))
    if lm.max_length is not None and needed > lm.max_length:
        raise UserError(
            f"method.n_soft_tokens: {config.method.n_soft_tokens} soft tokens and the longest program need {needed} "
            f"positions; the language model has {lm.max_length}"
        )


def connect(config: RunConfig) -> None:
    """Connects to Ray if the run uses it.

    Raises:
        UserError: no cluster answers.
    """
    if config.ray.enabled:
        connect_ray(config.ray)


def new_directory(config: RunConfig) -> Path:
    """Makes a directory that no other run has: a name that is taken gets a number.

    Raises:
        UserError: it cannot be made.
    """
    name = config.train.run_name or time.strftime("run-%Y%m%d-%H%M%S")
    return free_directory(lasting(config.train.checkpoint_dir), (name, *(f"{name}-{n}" for n in range(2, 10_000))))


def free_directory(root: Path, names: Iterable[str]) -> Path:
    """Makes a directory under the first of some names that nothing has yet.

    Raises:
        UserError: it cannot be made.
    """
    for name in names:
        directory = root / name
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"train.checkpoint_dir: cannot make {str(directory)!r}: {why(error)}") from None
        return directory
    raise UserError(f"train.run_name: there are too many runs like {name!r} in {str(root)!r}")


def exported(lm: FrozenLM) -> dict[str, Any]:
    """Returns what workers rebuild the language model from.

    Raises:
        WriteError: there is no room for temporary files.
    """
    with told(temporary()):
        return lm.export()


def make_pool(
    config: RunConfig,
    terrains: Sequence[str],
    instructions: Sequence[Sequence[Tokens]],
    model: Any,
    factory: Callable[[], World] | None = None,
) -> Pool:
    """Starts rollout workers on Ray, or one in this process.

    Args:
        config: settings of the run.
        terrains: their canonical names.
        instructions: token ids of each one's instructions.
        model: what `exported` returned or, for workers on Ray, a reference to it.
        factory: builds each worker's world, and can be pickled; None for the one of the configuration.

    Raises:
        UserError: Ray is not there, or this machine has no room for a single worker.
    """
    rollouts = config.rollouts
    before = longest(instructions)
    kwargs = {
        "make_world": factory or world_factory(config),
        "terrains": list(terrains),
        "generation": GenerationConfig(**config.method.gen_kwargs.sampler_settings(before)),
        "experience": GenerationConfig(**config.method.rollout_kwargs.sampler_settings(before)),
        "threads": rollouts.threads_per_worker,
    }
    shared = {"model": model}
    if not config.ray.enabled:
        return LocalPool(
            RolloutWorker, kwargs | {"device": device_of(config.compute.device)}, shared, rollouts.max_worker_memory_gb
        )
    connect(config)
    return RayPool(
        RolloutWorker,
        kwargs | {"device": "cuda" if rollouts.gpus_per_worker > 0 else "cpu"},
        shared,
        n_workers=_workers_with_room(config),
        cpus_per_worker=rollouts.cpus_per_worker,
        gpus_per_worker=rollouts.gpus_per_worker,
        threads=rollouts.threads_per_worker,
        deadline_s=rollouts.deadline_s,
        start_deadline_s=rollouts.start_deadline_s,
        max_attempts=rollouts.max_attempts,
        in_flight=rollouts.in_flight,
        max_memory_gb=rollouts.max_worker_memory_gb,
    )


def _workers_with_room(config: RunConfig) -> int:
    """The workers asked for, or as many as fit on a local Ray: results do not depend on the number."""
    rollouts = config.rollouts
    if not is_our_own(config.ray):
        return rollouts.workers  # a cluster may grow, or have others on it that leave
    room = room_for(rollouts.cpus_per_worker, rollouts.gpus_per_worker)
    if room == 0:
        asked = f"{rollouts.cpus_per_worker:g} CPU and {rollouts.gpus_per_worker:g} GPU"
        raise UserError(
            f"rollouts: no worker can ever start: each asks for {asked}, and there are {resource_summary()}; "
            "lower rollouts.cpus_per_worker and rollouts.gpus_per_worker"
        )
    if room < rollouts.workers:
        logger.warning("room for %d of %d rollout workers; the results will be the same", room, rollouts.workers)
    return min(room, rollouts.workers)
