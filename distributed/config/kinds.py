"""Recognises files that are no configuration of a run, and says what they are and where they, or their like, belong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distributed.config import TRLX_SECTIONS
from distributed.config.trlx_files import is_sweep
from distributed.errors import UserError

REMEDY = "write one with sections such as method: and train:, as configs/quickstart.yml has them"
METHODS = {"ilql": "ILQL", "sft": "supervised fine-tuning (SFT)", "rft": "rejection fine-tuning (RFT)"}
"""trlx's other methods, by what the names of their configurations and trainers hold."""

ACCELERATE = ("compute_environment", "distributed_type", "deepspeed_config")
DEEPSPEED = ("zero_optimization", "train_micro_batch_size_per_gpu", "zero_allow_untested_optimizer")
ELM = ("evo_init_steps", "evo_n_steps", "behavior_n_bins", "evo_history_length")
ELM_2022 = ("init_steps", "n_steps", "n_bins", "history_length")
ELM_BENCHMARK = ("n_trials", "n_bugs", "n_bugs_trials", "bugs_data_path")
TRAINING_ARGUMENTS = ("per_device_train_batch_size", "output_dir")


def check_kind(data: Mapping[str, Any]) -> None:
    """Checks that the sections of a file are those of a run, in whatever format.

    Raises:
        UserError: they are of something else; the message says of what, and what to do.
    """
    for said in (_of_trlx, _of_openelm, _of_libraries):
        if found := said(data):
            raise UserError(found)


def _of_trlx(data: Mapping[str, Any]) -> str | None:
    """What a file of trlx's is that is not for its PPO."""
    method, train = _section(data, "method"), _section(data, "train")
    trainer = str(train.get("trainer") or "")
    if trainer.casefold().startswith("nemo"):
        return (
            f"train.trainer: {trainer} is one of NeMo, which is not used here; leave it out, and name in "
            "model.model_path a language model that transformers reads"
        )
    for name, said in (("method.name", str(method.get("name") or "")), ("train.trainer", trainer)):
        kind = next((words for part, words in METHODS.items() if part in said.casefold()), None)
        if kind:
            return (
                f"{name}: {said} is trlx's {kind}, which learns from samples that are given; here prompts learn from "
                "scores by PPO: take trlx's configuration of PPO, or set method.name to PPOConfig and leave out what "
                "`terraprompt settings method` does not list"
            )
    if is_sweep(data):
        return (
            "this is a sweep of trlx's, which says what differs between runs: give it to "
            "`terraprompt search --config BASE.yml --sweep FILE`"
        )
    return None


def _of_openelm(data: Mapping[str, Any]) -> str | None:
    """What a file of OpenELM's, or of Hydra, which its programs are configured with, is."""
    env, qd = _section(data, "env"), _section(data, "qd")
    if "env_name" in env or "qd_name" in qd:
        found: str | None = "env" if env else "qd"
    elif _has_sections(data):
        return None  # a run's, with something in it that does not belong
    else:
        found = _any(data, ELM) or (_any(data, ELM_2022) if len(data.keys() & set(ELM_2022)) > 1 else None)
    if found:
        world = data.get("env_name") or env.get("env_name") or data.get("task") or "sodarace"
        words = f"this is a configuration of OpenELM's MAP-Elites ({found}), ELM's Stage 1"
        if "soda" in str(world).casefold():
            return f"{words}: `terraprompt corpus` does that here, with --evaluations and --seed as its options"
        return f"{words}, on {world}, which is not here; `terraprompt corpus` evolves Sodaracers"
    if found := _any(data, ELM_BENCHMARK):
        return (
            f"this is a configuration of OpenELM's benchmarks of mutation models ({found}), which are not here; "
            "`terraprompt corpus` evolves programs without a language model"
        )
    if isinstance(data.get("defaults"), list) or "hydra" in data:
        return f"this is a configuration of Hydra, put together from several files, which is not used here; {REMEDY}"
    return None


def _of_libraries(data: Mapping[str, Any]) -> str | None:
    """What a file of another library is."""
    return next((said for look in LIBRARIES if (said := look(data))), None)


def _accelerate(data: Mapping[str, Any]) -> str | None:
    if not (found := _any(data, ACCELERATE)):
        return None
    return (
        f"this is a configuration of accelerate ({found}), which is not used here: rollouts.workers and "
        f"compute.device say where a run computes; {REMEDY}"
    )


def _deepspeed(data: Mapping[str, Any]) -> str | None:
    if not (found := _any(data, DEEPSPEED)):
        return None
    return (
        f"this is a configuration of DeepSpeed ({found}), which is not used here: the language model is frozen, and "
        f"compute.dtype=bfloat16 halves it; {REMEDY}"
    )


def _nemo(data: Mapping[str, Any]) -> str | None:
    if "exp_manager" in data or isinstance(data.get("trainer"), dict):
        found = "exp_manager" if "exp_manager" in data else "trainer"
        return f"this is a configuration of NeMo ({found}), which is not used here; {REMEDY}"
    return None


def _peft(data: Mapping[str, Any]) -> str | None:
    if "peft_type" not in data:
        return None
    kind = str(data["peft_type"]).rpartition(".")[2]
    if kind.upper() == "PROMPT_TUNING":
        return (
            "this is a soft prompt's adapter_config.json: prompts start from its directory with method.initialize_from"
        )
    return (
        f"this is the adapter_config.json of an adapter ({kind}) of PEFT's: name its directory in model.model_path, "
        "and prompts are trained on the language model with the adapter"
    )


def _transformers(data: Mapping[str, Any]) -> str | None:
    if "architectures" in data or {"model_type", "vocab_size"} <= data.keys():
        return "this is a language model's own config.json: name its directory in model.model_path"
    if "tokenizer_class" in data:
        return "this is a tokenizer's own configuration: name the language model's directory in model.model_path"
    if "transformers_version" in data:
        return "this is a generation_config.json: what it says belongs in method.gen_kwargs"
    if (found := _any(data, TRAINING_ARGUMENTS)) and not _has_sections(data):
        return f"these are arguments of transformers' Trainer ({found}), which is not used here; {REMEDY}"
    return None


def _weights_and_biases(data: Mapping[str, Any]) -> str | None:
    if isinstance(data.get("method"), str) and "parameters" in data:
        return (
            "this is a sweep of Weights & Biases: say its values in search.space, as configs/search_quickstart.yml "
            "does, for `terraprompt search`"
        )
    return None


def _results(data: Mapping[str, Any]) -> str | None:
    if {"terrains", "transfer"} <= data.keys() and "method" not in data:
        return "this is the summary of a run: its settings are in config.json beside it"
    return None


LIBRARIES: tuple[Callable[[Mapping[str, Any]], str | None], ...] = (
    _accelerate,
    _deepspeed,
    _nemo,
    _peft,
    _transformers,
    _weights_and_biases,
    _results,
)


def _has_sections(data: Mapping[str, Any]) -> bool:
    """Whether a section of trlx's is there."""
    return any(_section(data, name) for name in TRLX_SECTIONS)


def _section(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = data.get(name)
    return section if isinstance(section, dict) else {}


def _any(data: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of some names that is there."""
    return next((name for name in names if name in data), None)
