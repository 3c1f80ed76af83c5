"""``terraprompt new-world``: a world of one's own to start from, as a file, and settings that train on it at once."""

from __future__ import annotations

import sys
from keyword import iskeyword
from pathlib import Path

from distributed.errors import UserError
from distributed.infra.writing import write_text

PACKAGES = ("distributed", "softprompt", "terrains", "terraprompt")
"""This project's own packages. A file of such a name in the current directory hides them, as it hides the library's."""

WORLD = '''"""The world {name}: texts are scored by how often they use a letter, one letter a terrain."""

from pydantic import BaseModel

from terrains import Attempt, Score, Terrain


class {cls}:
    """A world has a name, terrain(name), score(attempts) and close()."""

    name = "{name}"

    class Config(BaseModel):  # what terrains.options may set; checked before anything starts
        longest: int = 200  # characters of a text that count

    def __init__(self, config: Config):
        self.config = config

    def default_names(self):
        """The terrains, where terrains.names names none: each is a task with a soft prompt of its own."""
        return ["e", "t"]

    def terrain(self, name: str) -> Terrain:
        """The task of that name. Its instruction is what the language model reads behind the soft prompt."""
        if len(name) != 1:
            raise ValueError(f"there is no terrain {{name!r}}: write a letter")
        return Terrain(name, "import math\\n")

    def score(self, attempts: list[Attempt]) -> list[Score]:
        """One Score per attempt, in order: a reward that is learnt from, and a fitness that people read."""
        scores = []
        for attempt in attempts:
            text = attempt.program.removeprefix("import math\\n")[: self.config.longest]
            share = text.count(attempt.terrain) / max(len(text), 1)
            failure = None if text else "empty"
            scores.append(Score(reward=share, fitness=100 * share, failure=failure))
        return scores

    def close(self) -> None:
        """Ends what the world holds, such as subprocesses."""
'''

SETTINGS = """# Trains a soft prompt for each terrain of {file}: terraprompt train --config {name}.yml
terrains:
  world: {file}:{cls}
  options:
    longest: 200

model:
  model_path: bundled             # or a directory, or a name on the Hugging Face hub

warm_start:
  samples: 128
  steps: 10
  elites: 2

method:
  n_soft_tokens: 10
  num_rollouts: 32
  estimator: rloo
  gen_kwargs:
    max_new_tokens: 40

train:
  total_steps: 8
  seed: 0

evaluation:
  samples_per_terrain: 64
"""


def new_world(name: str, folder: Path) -> tuple[Path, Path]:
    """Writes ``NAME.py`` and ``NAME.yml``.

    Args:
        name: of the world, such as ``my_world``.
        folder: where they are written.

    Returns:
        Their paths.

    Raises:
        UserError: the name is none that a file and a class can have, a module of that name is there, which the file
            would hide from programs that run beside it, or one of the files is there already.
    """
    if not name.isidentifier() or not name.isascii():
        raise UserError(f"{name!r} is no name for a world: write letters, digits and _, such as my_world")
    if iskeyword(name) or name in sys.stdlib_module_names or name in PACKAGES:
        raise UserError(f"{name!r} is a word of Python's or a module's name; choose another, such as my_{name}")
    cls = "".join(part.capitalize() for part in name.split("_")) or "MyWorld"
    world, settings = folder / f"{name}.py", folder / f"{name}.yml"
    for path in (world, settings):
        if path.exists():
            raise UserError(f"there is {str(path)!r} already, and it stays as it is; choose another name")
    write_text(world, WORLD.format(name=name, cls=cls))
    write_text(settings, SETTINGS.format(name=name, cls=cls, file=world.name))
    return world, settings
