"""The YAML formats of 2022, which trlx and OpenELM's soft prompt example had then, turned into today's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from distributed.config.notes import Note
from distributed.errors import UserError

Path = tuple[str, str]

MOVED: dict[Path, str] = {
    ("train", "lr_init"): "optimizer.kwargs.lr",
    ("train", "learning_rate_init"): "optimizer.kwargs.lr",
    ("train", "opt_betas"): "optimizer.kwargs.betas",
    ("train", "opt_eps"): "optimizer.kwargs.eps",
    ("train", "weight_decay"): "optimizer.kwargs.weight_decay",
    ("model", "tokenizer_path"): "tokenizer.tokenizer_path",
    ("model", "n_soft_tokens"): "method.n_soft_tokens",
    ("model", "pre_seq_len"): "method.n_soft_tokens",
    ("model", "initialize_from_vocab"): "method.initialize_from_vocab",
    ("model", "dtype"): "compute.dtype",
    ("method", "clip_reward"): "method.cliprange_reward",
    ("method", "kl_mode"): "method.kl_in",
}
LAST_RATE = (("train", "lr_target"), ("train", "learning_rate_target"))
DROPPED: dict[Path, str] = {
    ("train", "orchestrator"): "",
    ("train", "lr_ramp_steps"): "",
    ("train", "lr_decay_steps"): "",
    ("train", "grad_clip"): "gradients are not clipped",
    ("train", "n_ctx"): "the length follows from other settings",
    ("train", "input_size"): "method.gen_kwargs says the lengths",
    ("train", "gen_size"): "method.gen_kwargs says the lengths",
    ("train", "save_steps"): "train.checkpoint_interval says it",
    ("train", "log_interval"): "every step is logged",
    ("train", "accelerate"): "compute.device says where a run computes",
    ("train", "accelerate_config_path"): "compute.device says where a run computes",
    ("train", "reward_model_batch_size"): "it is the reward's own",
    ("model", "model_type"): "",
    ("model", "device"): "compute.device says it",
    ("model", "tuning_mode"): "a soft prompt is what is tuned",
}
"""Settings that nothing here depends on, and what there is in their place."""

ACCUMULATED = (("train", "accumulate_steps"), ("train", "gradient_accumulation_steps"))


def translate(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Note]]:
    """Turns settings of the 2022 formats into today's; what is in today's format stays as it is.

    The optimizer of that time was AdamW, and its learning rate went from ``lr_init`` to ``lr_target`` along a cosine
    over ``train.total_steps``.

    Args:
        data: the sections of a file. They are not changed.

    Returns:
        The sections in today's format, which share nothing with ``data``, and for each setting that was translated
        what became of it.

    Raises:
        UserError: a setting is there in both formats.
    """
    sections = copy.deepcopy(dict(data))
    notes: list[Note] = []
    first = None
    for old, new in MOVED.items():
        if _has(sections, old):
            value = sections[old[0]].pop(old[1])
            _put(sections, new, value, old)
            first = value if new == "optimizer.kwargs.lr" else first
            notes.append(Note(".".join(old), f"is {new}", new))
    if any(note.now.startswith("optimizer.") for note in notes):
        sections["optimizer"].setdefault("name", "adamw")
    for old in LAST_RATE:
        if _has(sections, old):
            notes.append(_schedule(sections, old, first))
    for old in ACCUMULATED:
        if _has(sections, old):
            notes.append(_accumulate(sections, old))
    if _has(sections, ("method", "gen_inference_kwargs")):
        notes += _split_kwargs(sections["method"])
    for old, instead in DROPPED.items():
        if _has(sections, old):
            del sections[old[0]][old[1]]
            notes.append(Note(".".join(old), f"has no effect{f' ({instead})' if instead else ''}"))
    return sections, notes


def renamed(name: str) -> str:
    """Returns the full name that a setting of the 2022 formats has today, and any other name as it is."""
    section, _, key = name.partition(".")
    return MOVED.get((section, key), name)


def _schedule(data: dict[str, Any], old: Path, first: Any) -> Note:
    """Turns the last learning rate into a scheduler, and says so."""
    last = data[old[0]].pop(old[1])
    name = ".".join(old)
    _put(data, "scheduler.name", "constant" if last == first else "cosine_annealing", old)
    if last == first:
        return Note(name, "is scheduler.name constant", "scheduler.name")
    _put(data, "scheduler.kwargs.eta_min", last, old)
    return Note(name, "is scheduler.kwargs.eta_min of cosine_annealing", "scheduler.kwargs.eta_min")


def _accumulate(data: dict[str, Any], old: Path) -> Note:
    """Makes the batch that steps of accumulation had together the batch, and each of them a minibatch of it."""
    steps, train = data[old[0]].pop(old[1]), data["train"]
    name, batch = ".".join(old), train.get("batch_size")
    if steps == 1 or not isinstance(steps, int) or not isinstance(batch, int):
        return Note(name, "has no effect (train.minibatch_size says it)")
    train.setdefault("minibatch_size", batch)
    train["batch_size"] = batch * steps
    return Note(name, f"makes train.batch_size {batch} x {steps}, in minibatches of {batch}", "train.batch_size")


def _split_kwargs(method: dict[str, Any]) -> list[Note]:
    """Takes the settings of sampling for evaluation and those for rollouts apart as today's format does."""
    evaluated, sampled = method.pop("gen_inference_kwargs"), method.get("gen_kwargs")
    if "gen_experience_kwargs" in method:
        return [Note("method.gen_inference_kwargs", "has no effect (method.gen_kwargs is there too)")]
    if sampled is not None:
        method["gen_experience_kwargs"] = sampled
    method["gen_kwargs"] = evaluated
    return [
        Note("method.gen_inference_kwargs", "is method.gen_kwargs", "method.gen_kwargs"),
        Note("method.gen_kwargs", "is method.gen_experience_kwargs", "method.gen_experience_kwargs"),
    ]


def _has(data: Mapping[str, Any], path: Path) -> bool:
    section = data.get(path[0])
    return isinstance(section, dict) and path[1] in section


def _put(data: dict[str, Any], name: str, value: Any, old: Path) -> None:
    """Sets a value in today's format, unless there is one already."""
    *path, last = name.split(".")
    for part in path:
        if data.get(part) is None:
            data[part] = {}
        data = data[part]
        if not isinstance(data, dict):
            raise UserError(f"{part}: must be settings of its own, indented below it")
    if last in data:
        raise UserError(f"{'.'.join(old)} and {name} say the same in two formats; keep the second")
    data[last] = value
