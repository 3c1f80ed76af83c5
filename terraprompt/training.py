"""`train`: the arguments of ``trlx.train``, and a run that is made of them."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed.config import RunConfig
from distributed.config.load import parse_config
from distributed.config.unsupported import check_trainable
from distributed.config.worlds import with_whole_paths
from distributed.errors import UserError
from distributed.infra.paths import check_here, existing
from terraprompt.run import Run, load_run
from terraprompt.settings import (
    Sections,
    default_sections,
    full_names,
    in_words_of_arguments,
    path_of,
    sections_of,
    texts_of,
    where_workers_are,
)
from terraprompt.tasks import NO_REWARD, Tasks

OFFLINE = "is for methods that learn from samples that are there, which are not here; give reward_fn and prompts"
_training = threading.RLock()
"""Held while a run is made."""

NOT_HERE = {"dataset": OFFLINE, "samples": OFFLINE, "rewards": OFFLINE}
"""Arguments of trlx's, and why they are not taken."""


def train(
    model_path: str | None = None,
    reward_fn: Any = None,
    dataset: Any = None,
    samples: Any = None,
    rewards: Any = None,
    prompts: Any = None,
    eval_prompts: Any = None,
    metric_fn: Any = None,
    config: Any = None,
    stop_sequences: Sequence[str] | None = None,
    *,
    resume: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Run:
    """Trains soft prompts by a reward function, as ``terraprompt train`` does, with the arguments of ``trlx.train``.

    Without Ray one worker is in this process: so it is unless Ray is connected already, RAY_ADDRESS is set, or the
    settings say ``ray.enabled`` or ``ray.address``. On Ray functions travel by cloudpickle, with what they hold.

    Args:
        model_path: the language model: a directory, a name on the Hugging Face hub, or ``bundled``.
        reward_fn: a function of ``samples``, ``prompts``, ``outputs``, ``tokenizer`` and the prompts' other fields, of
            which it takes those that it names. It returns a number a sample, or for each a list with a number a token
            of its ``output_ids``. Also a reward that comes along, by its name or as ``{"name": "length", "per": 64}``;
            a list of rewards, which are added up; or a dict of them by terrain.
        dataset: not taken.
        samples: not taken.
        rewards: not taken.
        prompts: texts, or dicts with a text under ``prompt`` and other fields, which the functions are given. A dict of
            such lists, by terrain, trains a soft prompt for each.
        eval_prompts: the same, for evaluation; left out, `prompts`. A list is for all terrains.
        metric_fn: a function like `reward_fn` that returns a list by name, a number a sample.
        config: a `RunConfig`, sections in a dict, the path of a YAML file in this project's format or trlx's, or trlx's
            TRLConfig; left out, `default_config`.
        stop_sequences: texts at which a sample ends; they stay at its end.
        resume: directory of a run, or a checkpoint in it, to go on from. Its settings are taken, unless there is
            `config`; functions have to be given again.
        **settings: any settings by full name, before all others: ``**{"train.total_steps": 3}`` or
            ``train__total_steps=3``.

    Returns:
        The run, which can also be had from its directory, by `load_run`.

    Raises:
        UserError: something is missing or not what it should be, a function failed, or another thread of this process
            trains; the message is one line, and says how to go on where there is a checkpoint.
        KeyboardInterrupt: Ctrl-C, once a checkpoint is written.
    """
    for name, given in (("dataset", dataset), ("samples", samples), ("rewards", rewards)):
        if given is not None:
            raise UserError(f"{name}: {NOT_HERE[name]}")
    changed = full_names(settings, inspect.signature(train).parameters)
    check_here()
    with in_words_of_arguments():
        sections = _sections(config, resume, prompts)
        arguments = reward_fn, prompts, eval_prompts, metric_fn
        run, functions = configured(sections, model_path, arguments, stop_sequences, changed)
        start = existing(Path(path_of("resume", resume))) if resume is not None else None
        return _made(run, start, functions)


def _sections(config: Any, resume: Any, prompts: Any) -> Sections:
    """The sections that a run is made of, before any other argument."""
    if config is not None:
        return sections_of(config)
    if resume is None:
        return Sections(default_sections(len(prompts) if isinstance(prompts, Mapping) else 1))
    # Imported here, as all that needs torch: mistakes in the arguments are said at once.
    from distributed.training.resume import settings_of

    before = settings_of(Path(path_of("resume", resume)))
    return Sections(before.model_dump(mode="json", by_alias=True), source=str(resume))


def configured(
    sections: Sections,
    model_path: str | None,
    arguments: tuple[Any, ...],
    stop_sequences: Sequence[str] | None,
    settings: Mapping[str, Any],
) -> tuple[RunConfig, dict[str, Callable[..., Any]]]:
    """Returns the configuration of a run, and the functions that it names.

    Args:
        sections: what the other arguments change.
        model_path: see `train`.
        arguments: ``reward_fn``, ``prompts``, ``eval_prompts`` and ``metric_fn``.
        stop_sequences: see `train`.
        settings: values by full names.

    Raises:
        UserError: as `train`.
    """
    tasks = Tasks(sections.section("terrains"))
    changed: dict[str, Any] = {}
    if any(each is not None for each in arguments):
        changed["terrains"] = tasks.section(*arguments)
    elif not sections.section("terrains"):
        raise UserError(NO_REWARD)
    if model_path is not None:
        changed["model.model_path"] = path_of("model_path", model_path)
    if stop_sequences is not None and (said := texts_of("stop_sequences", stop_sequences)):
        more = ["gen_experience_kwargs"] if sections.section("method").get("gen_experience_kwargs") else []
        changed |= {f"method.{name}.stop_strings": said for name in ["gen_kwargs", *more]}
    if sections.run_name and not sections.section("train").get("run_name"):
        changed["train.run_name"] = sections.run_name
    changed |= where_workers_are(sections, settings) | dict(settings)
    run = with_whole_paths(parse_config(sections.said, changed, sections.source), sections.folder)
    check_trainable(run)
    return run, tasks.functions


def _made(config: RunConfig, start: Path | None, functions: dict[str, Callable[..., Any]]) -> Run:
    """Makes the run, or goes on with it."""
    if config.ray.enabled:
        _check_travels(functions)
    from distributed.jobs.train import make_run
    from distributed.training.resume import in_python

    if not _training.acquire(blocking=False):
        raise UserError(
            "another thread of this process trains already, and the compiled kernels serve one at a time: wait for its "
            "end, or train in a process of its own"
        )
    try:
        ended = make_run(config, start, functions)
    finally:
        _training.release()
    if ended.signal is None:
        return load_run(ended.directory)
    if ended.signal not in (signal.SIGINT, signal.SIGPIPE):
        signal.raise_signal(ended.signal)  # for whoever was to hear it before
    if not ended.directory.exists():
        raise KeyboardInterrupt("interrupted before there was anything to keep")
    raise KeyboardInterrupt(f"interrupted; continue with: {in_python(ended.directory, bool(functions))}")


def _check_travels(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Checks that functions can be sent to Ray's workers.

    Raises:
        UserError: one cannot; the message names it.
    """
    from ray import cloudpickle

    for name, function in functions.items():
        try:
            cloudpickle.dumps(function)
        except Exception as error:  # of whatever kind the object that it holds has for this
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{name.partition(':')[2]}: cannot travel to Ray's workers: {first}; make it inside of the function, "
                "or set ray.enabled to False"
            ) from None
