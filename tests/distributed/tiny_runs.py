"""Whole runs that take a second: a tiny random language model, a world that counts letters, no Ray."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.learner.learner import Learner
from distributed.observability.console import Display
from distributed.observability.tracker import Tracker
from distributed.rollout.instructions import instruction_ids
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.pool import Pool
from distributed.rollout.worker import RolloutWorker
from distributed.training.loop import TrainingLoop
from softprompt.models.frozen import FrozenLM
from softprompt.sampling import GenerationConfig
from tests.distributed.tiny_workers import INSTRUCTION, LetterWorld

LETTERS = ["a", "e"]


def config(**settings: Any) -> RunConfig:
    """A run of three steps; ``method__replay_size=2`` changes a setting."""
    small = {
        "terrains.names": LETTERS,
        "method.n_soft_tokens": 3,
        "method.num_rollouts": 12,
        "method.gen_kwargs.max_new_tokens": 12,
        "warm_start.samples": 24,
        "warm_start.steps": 4,
        "train.total_steps": 3,
        "train.batch_size": 8,
        "train.seed": 5,
        "train.tracker": None,
        "rollouts.request_size": 6,
        "evaluation.samples_per_terrain": 8,
        "evaluation.bootstrap": 100,
    }
    return with_settings(RunConfig(), small | {name.replace("__", "."): value for name, value in settings.items()})


def instructions(lm: FrozenLM) -> list[tuple[tuple[int, ...], ...]]:
    """The tokens of each terrain's one instruction."""
    return [(instruction_ids(lm, INSTRUCTION),)] * len(LETTERS)


def worker_arguments(run: RunConfig, lm: FrozenLM) -> tuple[dict[str, Any], dict[str, Any]]:
    """Small and shared arguments of a rollout worker."""
    longest = len(instruction_ids(lm, INSTRUCTION))
    drawing = {
        "generation": GenerationConfig(**run.method.gen_kwargs.sampler_settings(longest)),
        "experience": GenerationConfig(**run.method.rollout_kwargs.sampler_settings(longest)),
    }
    return {"make_world": LetterWorld, "terrains": LETTERS} | drawing, {"model": lm.export()}


def loop_of(run: RunConfig, lm: FrozenLM, pool: Pool | None = None) -> TrainingLoop:
    """A loop at its beginning."""
    pool = pool or LocalPool(RolloutWorker, *worker_arguments(run, lm))
    display = Display(LETTERS, Console(quiet=True))
    tasks = [LetterWorld().terrain(name) for name in LETTERS]
    return TrainingLoop(
        run, LETTERS, Learner(run, lm, instructions(lm), tasks, LetterWorld.niches), pool, Tracker(), display
    )


def finish(loop: TrainingLoop) -> TrainingLoop:
    """Takes a loop to its end."""
    while loop.stage != "done":
        loop.advance()
    return loop


def outcome(loop: TrainingLoop) -> dict[str, Any]:
    """All of a run that must not depend on when, where, or in how many parts it was made."""
    timed = ("seconds", "time/", "pool/", "scoring/")
    final = loop.final
    history = [{k: v for k, v in entry.items() if not k.startswith(timed)} for entry in loop.history]
    return {
        "prompts": loop.prompts.tobytes(),
        "layers": final.state.layers and final.state.layers.digest,
        "source": {name: tensor.tobytes() for name, tensor in (final.source or {}).items()},
        "last": loop.learner.prompt_state().prompts.tobytes(),
        "history": history,
        "rollouts": loop.rollouts,
        "tuned": {name: (t["fitness"].tolist(), t["programs"]) for name, t in loop.tuned.items()},
    }
