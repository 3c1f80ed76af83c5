"""``terraprompt write``: one program behind a prompt, scored and drawn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from distributed.config.worlds import world_of_metadata
from distributed.errors import UserError, did_you_mean
from distributed.export.registry import FINGERPRINT, PREFIX, Registry, default_store, model_uri, registry_name
from distributed.infra.numbers import fitness_text
from distributed.infra.writing import whole_file
from distributed.jobs.scoring_world import WorldChoice, attempt_of
from distributed.observability.mlflow_store import store_uri
from distributed.results.run_folder import open_run
from distributed.rollout.instructions import instruction_ids
from softprompt.finite import NotFiniteError
from softprompt.models.prompt_text import program_texts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.base import Attempt, Terrain, World
from terrains.errors import WorldError
from terrains.optional import Rendering, Tokenizing, fitness_unit
from terrains.registry import catalogue
from terrains.render.still import draw_scene

NO_CHOICE = WorldChoice()
REGISTERED = "models:/"
SECONDS_PER_FRAME = 2 / 60
"""Time between two recorded frames."""


@dataclass(frozen=True)
class Written:
    """A program and the rules to score it by.

    Attributes:
        program: the whole text.
        terrain: the terrain's name.
        world: what scores it; to be closed. None where that cannot be made here.
        why: what keeps the world from being made.
        fingerprint: of the terrain the prompt was evaluated on, None where it is not known.
        output_ids: the tokens that were sampled; empty where they are not known.
    """

    program: str
    terrain: str
    world: World | None
    fingerprint: str | None = None
    output_ids: tuple[int, ...] = ()
    why: str = ""


def write(
    terrain: str,
    source: str | None,
    seed: int,
    picture: Path | None,
    console: Console,
    choice: WorldChoice = NO_CHOICE,
) -> str:
    """Writes a program for a terrain, and says on the console what it scores.

    Args:
        terrain: the terrain's name.
        source: folder of a run, address of a registered model, or None for the terrain's champion.
        seed: decides what is drawn.
        picture: PNG to draw the walker to; by default named after the terrain and the seed.
        console: where fitness and the picture's path go; the program is returned and not printed.
        choice: the world that scores what a registered model writes; its own if nothing is chosen.

    Returns:
        The program.

    Raises:
        UserError: the terrain, the run, the registered model or its base model is not there.
    """
    disable_progress_bar()
    if picture is not None and not picture.absolute().parent.is_dir():
        raise UserError(f"--picture: there is no directory {str(picture.parent)!r}")
    if source is None or source.startswith(REGISTERED):
        written = _from_registry(terrain, source, seed, choice)
    elif choice.option:
        raise UserError(f"{choice.option}: what a run's prompt writes is scored by its own world; leave it out")
    else:
        written = _from_run(terrain, source, seed)
    if written.world is None:
        console.print(f"not scored: {written.why}", markup=False, highlight=False, soft_wrap=True)
        return written.program
    picture = picture or Path(f"{registry_name(written.terrain).removeprefix(PREFIX)}-seed{seed}.png")
    with closing(written.world) as world:
        _show(written, world, picture, console)
    return written.program


def _terrain_of(world: World, name: str) -> Terrain:
    try:
        return world.terrain(name)
    except ValueError as error:
        raise UserError(f"--terrain: {error}") from None


def _from_run(name: str, source: str, seed: int) -> Written:
    """A program of a finished run's prompt for this terrain."""
    run = open_run(source)
    world = run.make_world()
    terrain = _terrain_of(world, name)
    prompts = run.prompts_for(terrain, lambda other: _terrain_of(world, other))
    prompt = torch.from_numpy(prompts[[seed % len(prompts)]])
    lm = run.load_policy()
    instruction = instruction_ids(lm, terrain.instruction)
    config = GenerationConfig(**run.config.method.gen_kwargs.sampler_settings(len(instruction)))
    try:
        samples = Sampler(lm, config).sample(prompt, [SampleRequest(0, instruction, 1, seed)])
    except NotFiniteError as error:
        raise UserError(f"--from: {error}: the prompt or the language model of {source} is damaged") from None
    tokens = samples.ids[0][samples.mask[0]].tolist()
    [program] = program_texts(lm.tokenizer, [terrain.instruction], [instruction], [tokens])
    noted = (run.summary.fingerprints or {}).get(terrain.name)
    if isinstance(world, Tokenizing):
        world.use_tokenizer(lm.tokenizer)
    return Written(program, terrain.name, world, noted, tuple(tokens))


def _from_registry(name: str, source: str | None, seed: int, choice: WorldChoice) -> Written:
    """A program of a registered model, of the terrain's champion by default."""
    import mlflow
    import pandas as pd
    from mlflow.exceptions import MlflowException

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
    try:
        with default_store(uri), warnings.catch_warnings():
            # Warnings of libraries about each other would stand between the program and its figures.
            warnings.simplefilter("ignore")
            model = mlflow.pyfunc.load_model(address)
            said, writer = model.metadata.metadata or {}, model.unwrap_python_model()
            own = registry_name(name) == registry_name(str(said.get("terrain")))
            world, why = _world_of(said, getattr(writer, "world_file", None), choice, own)
            terrain = _terrain_of(world, name) if world else Terrain(name, said["instruction"])
            frame = model.predict(pd.DataFrame({"instruction": [terrain.instruction]}), params={"seed": seed})
        program = str(frame["program"].iloc[0])
    except (MlflowException, OSError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{address} at {uri}: {first}") from None
    ids: tuple[int, ...] = ()
    if isinstance(world, Tokenizing) and (tokenizer := getattr(writer, "tokenizer", None)) is not None:
        world.use_tokenizer(tokenizer)
        ids = attempt_of(terrain, program, tokenizer).output_ids
    own = registry_name(terrain.name) == registry_name(str(said.get("terrain")))
    return Written(program, terrain.name, world, said.get(FINGERPRINT) if own else None, ids, why)


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


def _show(written: Written, world: World, picture: Path, console: Console) -> None:
    """Scores a program, and draws it where its world can."""
    terrain = written.terrain
    if written.fingerprint not in (None, world.terrain(terrain).fingerprint):
        console.print(f"the rules of {terrain} have changed since this prompt was evaluated", highlight=False)
    try:
        [score] = world.score([Attempt(terrain, written.program, output_ids=written.output_ids)])
    except WorldError as error:
        raise UserError(str(error)) from None
    if not score.valid:
        named = str(score.detail).startswith(f"{score.failure}:")
        line = f"fitness 0 on {terrain}: {score.detail if named else f'{score.failure}: {score.detail}'}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    if isinstance(world, Rendering):
        scene = world.scene(terrain, written.program, SECONDS_PER_FRAME)
        title = f"{terrain}: {fitness_text(score.fitness)}{fitness_unit(world)} in {scene.seconds:g} s"
        with whole_file(picture) as draft:
            draw_scene(scene, draft, title=title)
    console.print(f"fitness {fitness_text(score.fitness)} on {terrain}", highlight=False)
    if isinstance(world, Rendering):
        console.print(f"picture {picture}", highlight=False, soft_wrap=True)
