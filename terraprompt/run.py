"""A finished run: its prompts, its history, and texts written behind the prompts."""

from __future__ import annotations

import io
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType

from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.config.method import GenKwargs
from distributed.errors import UserError, did_you_mean
from terrains.loading import expanded
from terraprompt.settings import in_words_of_arguments, path_of, texts_of

if TYPE_CHECKING:
    from distributed.results.run_folder import FinishedRun
    from distributed.results.summary import Summary
    from softprompt.models.frozen import FrozenLM

MOST_SHOWN = 3
"""Terrains in a run's short form."""


class Run:
    """What a training run has left. `terraprompt.train` and `terraprompt.load_run` return one.

    Args:
        finished: the run's directory, read.
        history: its metrics, a dict a step and phase.
    """

    def __init__(self, finished: FinishedRun, history: Sequence[Mapping[str, Any]]) -> None:
        self._finished = finished
        self._history = [dict(entry) for entry in history]

    @property
    def directory(self) -> Path:
        """The run's directory: checkpoints, report.html, summary.json, prompts.safetensors."""
        return self._finished.path

    @property
    def config(self) -> RunConfig:
        """All settings of the run."""
        return self._finished.config

    @property
    def summary(self) -> Summary:
        """Its results: of each terrain, fitness before and after, with intervals."""
        return self._finished.summary

    @property
    def prompts(self) -> dict[str, np.ndarray]:
        """The soft prompts by terrain, each of shape (n_soft_tokens, d), float32; of several, (n, n_soft_tokens, d)."""
        return self._finished.prompts

    @property
    def terrains(self) -> list[str]:
        """Names of the terrains."""
        return list(self.prompts)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Metrics in the order of the run, a dict for each step, and for what came before and after the steps.

        ``phase`` says what it is of (``steps``, ``untuned``, ``evaluation``); the others have trlx's names where they
        mean what they mean there, such as ``reward/mean``.
        """
        return self._history

    @property
    def stats(self) -> dict[str, list[float]]:
        """Metrics of the steps by name, a number a step; NaN where a step has none."""
        steps = [entry for entry in self._history if entry.get("phase") == "steps"]
        names = dict.fromkeys(
            name
            for entry in steps
            for name, value in entry.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        )
        return {name: [float(entry.get(name, float("nan"))) for entry in steps] for name in names}

    @cached_property
    def lm(self) -> FrozenLM:
        """The language model, on the run's device, with the layers that were trained too where there are any."""
        from distributed.training.setup import device_of
        from softprompt.ambient import usual_torch

        with usual_torch():
            lm = self._finished.load_policy()
        lm.model.to(device_of(self.config.compute.device))
        return lm

    def generate(
        self,
        prompts: str | Sequence[str] | None = None,
        terrain: str | None = None,
        n: int = 1,
        seed: int = 0,
        **gen_kwargs: Any,
    ) -> list[str]:
        """Writes texts behind a trained soft prompt.

        Args:
            prompts: what they go on from; left out, the terrain's own instructions, in turn.
            terrain: whose soft prompt is used; may be left out where the run has one only.
            n: how many texts for each of the prompts; of the terrain's own, how many in all.
            seed: the same one gives the same texts.
            **gen_kwargs: settings of ``method.gen_kwargs``, such as ``max_new_tokens`` or ``temperature``, instead of
                the run's.

        Returns:
            The whole texts, those of the first prompt first.

        Raises:
            UserError: no such terrain or setting, or a text would be longer than the language model reads.
        """
        name = self._terrain(terrain)
        n, seed = _whole("n", n, 1), _whole("seed", seed, 0)
        if prompts is None:
            own = self._instructions(name)
            asked = [(text, n // len(own) + (k < n % len(own))) for k, text in enumerate(own[:n])]
        else:
            asked = [(text, n) for text in texts_of("prompts", prompts)]
        if not asked:
            raise UserError("prompts: are empty")
        from terraprompt.writing import written

        return written(self.lm, self._finished.prompt_set(name), asked, self._drawing(gen_kwargs), seed)

    def save_pretrained(self, directory: str | os.PathLike[str], terrain: str | None = None) -> Path:
        """Writes soft prompts as PEFT does: ``PeftModel.from_pretrained(model, directory)`` reads one.

        Args:
            directory: where to; with several terrains, each has a folder of its name in it, and each of a terrain's
                several prompts a folder of its number.
            terrain: whose soft prompt; left out, all.

        Returns:
            The directory.

        Raises:
            UserError: no such terrain, it cannot be written, or a language model lies there; or layers of the run's
                were trained too, and a prompt is no use without.
        """
        import torch

        from distributed.export.registry import PREFIX, registry_name
        from distributed.infra.writing import told
        from softprompt.prompts.peft_io import save_prompt

        if self._finished.has_layers:
            raise UserError(
                f"{self.directory}: layers of its language model were trained too (model.num_layers_unfrozen), and its "
                "prompts are of no use to the base model alone"
            )
        names = self._chosen([terrain] if terrain is not None else [])
        place = expanded(path_of("directory", directory))
        if (place / "config.json").is_file() and (place / "tokenizer_config.json").is_file():
            raise UserError(f"directory: {str(place)!r} holds a language model, which would be taken for an adapter")
        for name in names:
            folder = place if len(names) == 1 else place / registry_name(name).removeprefix(PREFIX)
            prompts = torch.from_numpy(self._finished.prompt_set(name))
            with told(folder):
                base, model = self._finished.base_model, self.lm.model
                for k, prompt in enumerate(prompts):
                    save_prompt(folder / f"{k:03d}" if len(prompts) > 1 else folder, prompt, base, model.config)
        return place

    def __repr__(self) -> str:
        rows = list(self.summary.terrains.items())
        shown = [f"{name} {row.untuned_mean:.4g} -> {row.tuned_mean:.4g}" for name, row in rows[:MOST_SHOWN]]
        more = f", and {len(rows) - MOST_SHOWN} more" if len(rows) > MOST_SHOWN else ""
        steps = f"{self.summary.steps} steps; " if self.summary.steps is not None else ""
        return f"<Run {str(self.directory)!r}: {steps}fitness {', '.join(shown)}{more}>"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The tables that a run ends with."""
        from distributed.results.tables import summary_tables

        yield from summary_tables(self.summary, options.max_width)

    def _repr_html_(self) -> str:
        """The same tables for a notebook."""
        console = Console(record=True, file=io.StringIO(), width=100, force_jupyter=False)
        console.print(self)
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")

    def _terrain(self, name: str | None) -> str:
        if name is not None:
            return self._chosen([name])[0]
        if len(self.prompts) > 1:
            raise UserError(f"terrain: has to be given, as the run has several: {', '.join(self.prompts)}")
        return self.terrains[0]

    def _chosen(self, names: Sequence[str]) -> list[str]:
        """The run's terrains of these names, or all of them."""
        for name in names:
            if not isinstance(name, str):
                raise UserError(f"terrain: is {name!r:.60}, and no name of a terrain")
        with in_words_of_arguments():
            return self._finished.choose(names)

    def _instructions(self, terrain: str) -> list[str]:
        """The texts that a terrain's samples were written behind in training."""
        if not self.directory.is_dir():
            raise UserError(f"{self.directory}: is not there any more; give prompts to write behind")
        with closing(self._finished.make_world()) as world:
            return [each.text for each in world.terrain(terrain).instructions]

    def _drawing(self, changed: Mapping[str, Any]) -> GenKwargs:
        """How tokens are drawn."""
        for name in changed:
            if name not in GenKwargs.model_fields:
                raise UserError(f"generate takes no argument {name!r}{did_you_mean(name, GenKwargs.model_fields)}")
        settings = {f"method.gen_kwargs.{name}": value for name, value in changed.items()}
        return with_settings(self.config, settings).method.gen_kwargs


def _whole(argument: str, given: Any, least: int) -> int:
    """A whole number that was given as an argument."""
    try:
        number = operator.index(given)
    except TypeError:
        raise UserError(f"{argument}: must be a whole number, not {given!r:.60}") from None
    if not least <= number < 2**63:
        raise UserError(f"{argument}: must be at least {least} and below 2**63, not {number}")
    return number


def load_run(directory: str | os.PathLike[str]) -> Run:
    """Reads a finished run, or the best member of a search.

    Args:
        directory: of the run, such as ``runs/quickstart``.

    Raises:
        UserError: there is no such run, it did not end, or a file is damaged.
    """
    from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint
    from distributed.results.run_folder import open_run

    finished = open_run(path_of("directory", directory))
    newest = latest(finished.path)
    try:
        history = load_checkpoint(newest).state["loop"]["history"] if newest else []
    except (CheckpointError, KeyError, TypeError) as error:
        raise UserError(f"{finished.path}: its history cannot be read: {error}") from None
    return Run(finished, history)
