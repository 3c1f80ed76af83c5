"""What ``write`` draws programs from: a run's prompts for a terrain, or a registered model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distributed.config.worlds import world_of_metadata
from distributed.errors import UserError, did_you_mean
from distributed.export.registry import FINGERPRINT, PREFIX, Registry, default_store, model_uri, registry_name
from distributed.jobs.scoring_world import WorldChoice, attempt_of
from distributed.observability.mlflow_store import store_uri
from distributed.results.run_folder import open_run
from distributed.rollout.instructions import instruction_ids
from softprompt.finite import NotFiniteError
from softprompt.models.prompt_text import program_texts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.base import Terrain, World
from terrains.optional import Tokenizing
from terrains.registry import catalogue


@dataclass(frozen=True)
class Written:
    """A program as it was drawn.

    Attributes:
        program: the whole text.
        output_ids: the tokens that were sampled; empty where they are not known.
    """

    program: str
    output_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Writer:
    """Writes programs for a terrain, and knows the rules to score them by.

    Attributes:
        terrain: the terrain.
        draw: returns a program for each of some seeds, in order. Of n prompts, a seed's is written behind that of
            number seed modulo n; what a seed draws does not depend on the others.
        world: what scores them; to be closed. None where that cannot be made here.
        why: what keeps the world from being made.
        fingerprint: of the terrain the prompt was evaluated on, None where it is not known.
    """

    terrain: Terrain
    draw: Callable[[Sequence[int]], list[Written]]
    world: World | None
    why: str = ""
    fingerprint: str | None = None


def _terrain_of(world: World, name: str) -> Terrain:
    try:
        return world.terrain(name)
    except ValueError as error:
        raise UserError(f"--terrain: {error}") from None


def from_run(name: str, source: str, kind: str | None = None) -> Writer:
    """Returns what writes behind a finished run's prompts for a terrain, or behind the one for a kind of program.

    Raises:
        UserError: the terrain, the run or its base model is not there; or, from ``draw``, the prompt is damaged.
    """
    run = open_run(source)
    world = run.make_world()
    terrain = _terrain_of(world, name)
    prompts = torch.from_numpy(run.prompts_for(terrain, lambda other: _terrain_of(world, other), kind))
    lm = run.load_policy()
    instruction = instruction_ids(lm, terrain.instruction)
    sampler = Sampler(lm, GenerationConfig(**run.config.method.gen_kwargs.sampler_settings(len(instruction))))
    if isinstance(world, Tokenizing):
        world.use_tokenizer(lm.tokenizer)

    def draw(seeds: Sequence[int]) -> list[Written]:
        try:
            samples = sampler.sample(prompts, [SampleRequest(s % len(prompts), instruction, 1, s) for s in seeds])
        except NotFiniteError as error:
            raise UserError(f"--from: {error}: the prompt or the language model of {source} is damaged") from None
        tokens = [row[kept].tolist() for row, kept in zip(samples.ids, samples.mask, strict=True)]
        texts = program_texts(lm.tokenizer, [terrain.instruction] * len(tokens), samples.instructions, tokens)
        return [Written(text, tuple(own)) for text, own in zip(texts, tokens, strict=True)]

    return Writer(terrain, draw, world, fingerprint=(run.summary.fingerprints or {}).get(terrain.name))


def from_registry(name: str, source: str | None, choice: WorldChoice) -> Writer:
    """Returns what writes with a registered model, of the terrain's champion by default.

    Args:
        name: the terrain's name.
        source: address of the model, or None.
        choice: the world that scores; the model's own if nothing is chosen.

    Raises:
        UserError: there is no such model, or neither it nor its base model can be loaded.
    """
    import mlflow
    import pandas as pd

    uri = store_uri(None)
    registry = Registry(uri)
    name, misspelt = _canonical(name)
    champion = registry.champion(registry_name(name))  # raises at once where the store cannot be opened
    if source is None and champion is None:
        terrains = [each.removeprefix(PREFIX) for each in registry.names()]
        raise (not did_you_mean(name, terrains) and misspelt) or _no_champion(name, terrains, uri)
    if registry.is_new:
        raise UserError(f"{source}: there is no MLflow store at {uri}; MLFLOW_TRACKING_URI names another one")
    address = source or model_uri(name)
    with _asking(address, uri):
        model = mlflow.pyfunc.load_model(address)
        said, writer = model.metadata.metadata or {}, model.unwrap_python_model()
        own = registry_name(name) == registry_name(str(said.get("terrain")))
        world, why = _world_of(said, getattr(writer, "world_file", None), choice, own)
        terrain = _terrain_of(world, name) if world else Terrain(name, said["instruction"])
    tokenizer = getattr(writer, "tokenizer", None) if isinstance(world, Tokenizing) else None
    if isinstance(world, Tokenizing) and tokenizer is not None:
        world.use_tokenizer(tokenizer)

    def draw(seeds: Sequence[int]) -> list[Written]:
        asked = pd.DataFrame({"instruction": [terrain.instruction]})
        with _asking(address, uri):
            programs = [str(model.predict(asked, params={"seed": seed})["program"].iloc[0]) for seed in seeds]
        if tokenizer is None:
            return [Written(program) for program in programs]
        return [Written(each, attempt_of(terrain, each, tokenizer).output_ids) for each in programs]

    own = registry_name(terrain.name) == registry_name(str(said.get("terrain")))
    return Writer(terrain, draw, world, why, said.get(FINGERPRINT) if own else None)


@contextmanager
def _asking(address: str, uri: str) -> Iterator[None]:
    """Lets MLflow work with a store, quietly; what goes wrong becomes one line."""
    from mlflow.exceptions import MlflowException

    try:
        with default_store(uri), warnings.catch_warnings():
            # Warnings of libraries about each other would stand between the program and its figures.
            warnings.simplefilter("ignore")
            yield
    except (MlflowException, OSError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{address} at {uri}: {first}") from None


def _world_of(said: Mapping[str, Any], kept: str | None, choice: WorldChoice, own: bool) -> tuple[World | None, str]:
    """The world that scores what a model writes; or why there is none, where the model itself says what to write for.

    Raises:
        UserError: there is none, and the terrain is not the model's own.
    """
    if choice.option:
        return choice.make(*choice.settings()), ""
    try:
        return world_of_metadata(said, Path(kept) if kept else None), ""
    except UserError as error:
        if not own or "instruction" not in said:
            raise
        return None, f"{error}; --world, --config or --run names another one"


def _canonical(name: str) -> tuple[str, UserError | None]:
    """A name as models are registered by it, and what is wrong with it as the name of one of sodarace's terrains."""
    try:
        return catalogue("sodarace").canonical_name(name), None
    except ValueError as error:
        return name.strip(), UserError(f"--terrain: {error}")


def _no_champion(terrain: str, terrains: list[str], uri: str) -> UserError:
    """The error where a terrain has no champion; it names those that are registered."""
    has = f"; it has {', '.join(terrains[:8])}{', ...' if len(terrains) > 8 else ''}" if terrains else ""
    return UserError(
        f"no champion for {terrain} at {uri}{did_you_mean(terrain, terrains) or has}: export a run with "
        "`terraprompt export RUN`, or name one with --from"
    )
