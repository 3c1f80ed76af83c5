"""The world that ``replay`` and ``write`` score programs with, and how a text from anywhere is handed to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.config import RunConfig
from distributed.config.load import load_config
from distributed.config.worlds import make_world, names_of
from distributed.errors import UserError
from distributed.results.run_folder import base_model_of, open_run
from terrains.base import Attempt, Terrain, World
from terrains.optional import Listing, Tokenizing


@dataclass(frozen=True)
class WorldChoice:
    """Where the world comes from; at most one of these is given.

    Attributes:
        world: its name, as ``terrains.world`` takes it; it has the settings that are there by default.
        config: YAML file of a run with the world and its settings.
        run: folder of a finished run, whose world is taken as it was.
    """

    world: str | None = None
    config: Path | None = None
    run: Path | None = None

    @property
    def option(self) -> str:
        """The option that is given, empty for none."""
        return next((f"--{name}" for name, value in vars(self).items() if value is not None), "")

    def check(self) -> None:
        """Raises UserError where more than one is given."""
        given = [f"--{name}" for name, value in vars(self).items() if value is not None]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} each name a world; leave all but one out")

    def settings(self) -> tuple[RunConfig, Path | None]:
        """Returns the settings of the world, and the folder that has its files where that is a run's.

        Raises:
            UserError: there is no such file or run.
        """
        self.check()
        if self.run is not None:
            run = open_run(self.run)
            return run.config, run.path
        if self.config is not None:
            return load_config(self.config), None
        terrains = {"terrains": {"world": self.world}} if self.world is not None else {}
        return RunConfig.model_validate(terrains), None

    def make(self, config: RunConfig, folder: Path | None) -> World:
        """Makes the world of such settings.

        Raises:
            UserError: it cannot be made; for ``--world`` the message speaks of that option.
        """
        try:
            return make_world(config, folder)
        except UserError as error:
            if self.world is None:
                raise
            said = str(error).removeprefix("terrains.world: ")
            more = "; --config FILE brings such settings along" if said.startswith("terrains.options.") else ""
            raise UserError(f"--world: {said}{more}") from None


def terrains_of(world: World, config: RunConfig) -> Sequence[str]:
    """Returns the terrains that settings name, or else those that their world lists.

    Raises:
        UserError: there are none.
    """
    names = names_of(config, world)
    if not names and isinstance(world, Listing):
        names = tuple(world.default_names())
    if not names:
        raise UserError(f"--terrain: name one of the terrains of {world.name}, which lists none itself")
    return names


def hand_tokenizer(world: World, config: RunConfig) -> Any:
    """Gives a world the tokenizer of a run's language model, where it takes one; returns it, or None.

    Without the model such a world does without, as it does with texts that no model wrote.
    """
    if not isinstance(world, Tokenizing):
        return None
    # Imported here: it takes seconds, and few worlds need it.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base_model_of(config), trust_remote_code=False)
    except (OSError, ValueError):
        return None
    world.use_tokenizer(tokenizer)
    return tokenizer


def attempt_of(terrain: Terrain, program: str, tokenizer: Any = None) -> Attempt:
    """Makes an attempt of a text: behind the longest of the terrain's instructions that it begins with.

    Args:
        terrain: the terrain.
        program: the whole text; one that begins with no instruction counts as written behind the first.
        tokenizer: cuts what follows the instruction into tokens; None for an attempt without such.
    """
    texts = [each.text for each in terrain.all_instructions]
    fits = [k for k, text in enumerate(texts) if program.startswith(text)]
    chosen = max(fits, key=lambda k: len(texts[k]), default=0)
    output = program.removeprefix(texts[chosen])
    ids = tokenizer(output, add_special_tokens=False)["input_ids"] if tokenizer is not None else ()
    return Attempt(terrain.name, program, chosen, tuple(ids))
