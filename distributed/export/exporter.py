"""Registers the prompts of a finished run in MLflow, one model a terrain."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distributed.config.worlds import KEPT_READ, to_keep, world_metadata
from distributed.errors import UserError
from distributed.export.registry import DIGEST, FINGERPRINT, FITNESS, Champion, Registry, registry_name
from distributed.infra.writing import temporary, told, write_text
from distributed.observability.mlflow_store import store_uri
from distributed.results.run_folder import FinishedRun
from distributed.rollout.instructions import instruction_ids
from softprompt.models import merge_adapter
from softprompt.models.frozen import FrozenLM
from softprompt.models.loading import ModelFiles
from softprompt.prompts.peft_io import save_prompt
from softprompt.sampling.decoders.cache_check import can_use_cache
from terrains.base import Terrain

CODE = Path(__file__).with_name("prompt_model.py")
MERGING = merge_adapter.__file__
"""What an exported model needs besides, where its base model is an adapter on another one."""

REQUIREMENTS = ("mlflow", "torch", "transformers", "peft", "numpy", "pandas")
PROMPT, WORLD = "prompt", "world"
"""Names of a model's artifacts: the PEFT directory, and what the run's world had read of files, where it keeps that."""

BETTER, FIRST, NOT_BETTER, INCOMPARABLE, UNSCORED = "better", "first", "not better", "other rules", "unscored"
"""How a prompt's evaluation compares with the champion's; the first two make the prompt the champion."""


@dataclass(frozen=True)
class Export:
    """One prompt, and its place in the registry.

    Attributes:
        terrain: the terrain's name.
        name: the registered model's name.
        fitness: mean fitness of the programs under this prompt.
        interval: its 95% interval.
        fingerprint: of the terrain.
        champion: the version that has the alias, if any.
        version: this prompt's version, None while it is not registered.
        is_new: whether it was not registered before this export.
    """

    terrain: str
    name: str
    fitness: float
    interval: tuple[float, float]
    fingerprint: str
    champion: Champion | None
    version: str | None
    is_new: bool

    @property
    def verdict(self) -> str:
        """How the evaluation compares with the champion's: one of BETTER to UNSCORED."""
        if self.champion is None:
            return FIRST
        if self.champion.fitness is None:
            return UNSCORED
        if self.champion.fingerprint != self.fingerprint:
            return INCOMPARABLE
        return BETTER if self.fitness > self.champion.fitness else NOT_BETTER

    @property
    def is_champion(self) -> bool:
        """Whether the alias is to point to this prompt."""
        holds_it = self.champion is not None and self.champion.version == self.version
        return holds_it or self.verdict in (BETTER, FIRST)


class Exporter:
    """Exports a run: `plan` looks up what is registered and writes nothing, `export` registers.

    Args:
        run: a finished run. The MLflow store is that of its settings, else that of MLFLOW_TRACKING_URI, else a local
            database.

    Raises:
        UserError: the run's language model is not there or has changed, or layers of it were trained too.
    """

    def __init__(self, run: FinishedRun) -> None:
        if run.has_layers:
            raise UserError(
                f"{run.path}: layers of its language model were trained too (model.num_layers_unfrozen), and its "
                "prompts are of no use to the base model alone; `terraprompt write --from` takes both"
            )
        self.run = run
        self.registry = Registry(store_uri(run.config.tracking.uri))
        self._lm: FrozenLM = run.load_base()
        self._hash = self._lm.hash
        self._world = run.make_world()

    def plan(self, terrains: Sequence[str]) -> list[Export]:
        """Looks up what is registered already; writes nothing."""
        return [self._plan(name) for name in terrains]

    def export(self, plan: Sequence[Export]) -> Iterator[Export]:
        """Registers the prompts of a plan one by one, and yields each when it is done.

        A prompt that is registered already is not registered again, so an export that was interrupted can be repeated.
        """
        for each in plan:
            version = each.version or self._register(each)
            done = replace(each, version=version)
            if done.is_champion and (done.champion is None or done.champion.version != version):
                self.registry.set_champion(done.name, version)
            yield done

    def _plan(self, terrain: str) -> Export:
        row, name = self.run.summary.terrains[terrain], registry_name(terrain)
        version = self.registry.find(name, self._digest(terrain))
        return Export(
            terrain=terrain,
            name=name,
            fitness=round(row.tuned_mean, 4),
            interval=row.tuned_interval,
            fingerprint=self._fingerprint(terrain),
            champion=self.registry.champion(name),
            version=version,
            is_new=version is None,
        )

    def _register(self, export: Export) -> str:
        run_id = self._recorded.info.run_id if self._recorded else None
        model_id = self.registry.new_model(self._experiment, run_id)
        with told(temporary()), tempfile.TemporaryDirectory() as scratch:
            folder = self._build(export.terrain, Path(scratch), model_id, run_id)
            description = f"Soft prompt for the terrain {export.terrain}: writes programs for it."
            tags = self._tags(export)
            return self.registry.register(export.name, model_id, folder, run_id, tags, description)

    def _build(self, terrain: str, scratch: Path, model_id: str, run_id: str | None) -> Path:
        """Writes the folder of a model in MLflow's format."""
        from mlflow.models import Model
        from mlflow.pyfunc import save_model

        prompts = torch.from_numpy(self.run.prompt_set(terrain))
        for k, prompt in enumerate(prompts):
            # One lies in the folder itself, where PEFT reads it from; of several, each in a folder of its number.
            place = scratch / PROMPT if len(prompts) == 1 else scratch / PROMPT / f"{k:03d}"
            save_prompt(place, prompt, self.run.base_model, self._lm.model.config)
        artifacts = {PROMPT: str(scratch / PROMPT)}
        if (read := to_keep(self.run.config, self._world, self.run.path).get(KEPT_READ)) is not None:
            write_text(scratch / KEPT_READ, read)
            artifacts[WORLD] = str(scratch / KEPT_READ)
        sampling = self._sampling(self._terrain(terrain))
        with _quiet():
            save_model(
                path=str(scratch / "model"),
                python_model=str(CODE),
                artifacts=artifacts,
                code_paths=[MERGING] if ModelFiles.find(self.run.base_model).adapter else None,
                signature=_signature(sampling),
                pip_requirements=[f"{package}=={version_of(package)}" for package in self._requirements],
                model_config={
                    "base_model": self.run.base_model,
                    "base_model_hash": self._hash,
                    "dtype": self.run.config.compute.dtype,
                    "quantization": self.run.config.compute.quantization,
                    "ends": list(self._lm.eos_ids if sampling["end_tokens"] is None else sampling["end_tokens"]),
                    "cached": can_use_cache(self._lm.model),
                    "min_new_tokens": sampling["min_new_tokens"],
                    "stop_strings": list(sampling["stop_strings"]),
                    "chat": self.run.config.chat.model_dump(),
                },
                metadata={
                    "terrain": terrain,
                    "instruction": self._terrain(terrain).instruction,
                    **world_metadata(self.run.config, self.run.path),
                    FINGERPRINT: self._fingerprint(terrain),
                },
                mlflow_model=Model(model_uuid=model_id, model_id=model_id, run_id=run_id),
            )
        return scratch / "model"

    def _tags(self, export: Export) -> dict[str, str]:
        config, summary = self.run.config, self.run.summary
        job = self._recorded.data.tags.get("ray_job_id") if self._recorded else None
        return {
            "terrain": export.terrain,
            FINGERPRINT: export.fingerprint,
            "n_soft_tokens": str(self.run.prompts[export.terrain].shape[-2]),
            "prompts": str(len(self.run.prompt_set(export.terrain))),
            "initialize_from_vocab": str(config.method.initialize_from_vocab).lower(),
            "base_model": config.model.model_path,
            "base_model_hash": self._hash,
            FITNESS: f"{export.fitness:.4f}",
            "fitness_interval": json.dumps([round(end, 4) for end in export.interval]),
            "fitness_samples": str(config.evaluation.samples_per_terrain),
            "untuned_fitness": f"{summary.terrains[export.terrain].untuned_mean:.4f}",
            "run": self.run.name,
            DIGEST: self._digest(export.terrain),
            **({"ray_job_id": job} if job else {}),
        }

    def _digest(self, terrain: str) -> str:
        """A hash of all that makes a version: prompt, base model, evaluation, and the terrain's fingerprint."""
        row = self.run.summary.terrains[terrain]
        said = (self._hash, self._fingerprint(terrain), row.tuned_mean, row.tuned_interval)
        rows = np.ascontiguousarray(self.run.prompts[terrain])
        return hashlib.sha256(repr((said, rows.shape)).encode() + rows.tobytes()).hexdigest()

    def _fingerprint(self, terrain: str) -> str:
        """The terrain's fingerprint when the run evaluated its prompts; the present one where none was recorded."""
        noted = self.run.summary.fingerprints or {}
        return noted.get(terrain) or self._terrain(terrain).fingerprint

    def _terrain(self, name: str) -> Terrain:
        return self._world.terrain(name)

    def _sampling(self, terrain: Terrain) -> dict[str, Any]:
        """The settings with which the run sampled the programs that were evaluated."""
        return self.run.config.method.gen_kwargs.sampler_settings(len(instruction_ids(self._lm, terrain.instruction)))

    @property
    def _requirements(self) -> tuple[str, ...]:
        """What has to be installed where a model is loaded."""
        return (*REQUIREMENTS, "bitsandbytes") if self.run.config.compute.quantization else REQUIREMENTS

    @cached_property
    def _recorded(self) -> Any:
        """MLflow's record of the run, None where the store has none."""
        return self.registry.run(self.run.mlflow_run_id())

    @cached_property
    def _experiment(self) -> str:
        """Id of the experiment that the models belong to, the run's own where it was recorded."""
        if self._recorded:
            return self._recorded.info.experiment_id
        return self.registry.experiment(self.run.config.tracking.experiment)


def _signature(sampling: dict[str, Any]) -> Any:
    """Instruction in, program out; by default sampled as in the run, with seed 0."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    kinds = {
        "temperature": "double",
        "top_k": "long",
        "top_p": "double",
        "do_sample": "boolean",
        "max_new_tokens": "long",
    }
    params = [ParamSpec(name, kind, sampling[name]) for name, kind in kinds.items()]
    return ModelSignature(
        inputs=Schema([ColSpec("string", "instruction")]),
        outputs=Schema([ColSpec("string", "program")]),
        params=ParamSchema([*params, ParamSpec("seed", "long", 0)]),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences MLflow's advice on type hints, which is about models without a signature."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
