"""What files of today's trlx say in other words than a run here does: trackers, adapters, optimizers, sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distributed.config import TRLX_SECTIONS
from distributed.config.notes import Note

OTHER_TRACKERS = ("wandb", "tensorboard")
OPTIMIZERS = {
    "adam_8bit_bnb": "adam",
    "adamw_8bit_bnb": "adamw",
    "adam_bnb_8bit": "adam",
    "adamw_bnb_8bit": "adamw",
}
"""Optimizers of bitsandbytes', by the names that trlx has or had for them, and what they are without 8 bits."""

KWARGS = ("gen_kwargs", "gen_experience_kwargs")
KNOWN_TO_SAMPLER = ("pad_token_id", "bos_token_id", "use_cache", "synced_gpus", "return_dict_in_generate")
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (None, 1),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "typical_p": (None, 1),
    "min_p": (None, 0),
    "epsilon_cutoff": (None, 0),
    "eta_cutoff": (None, 0),
    "penalty_alpha": (None, 0),
    "diversity_penalty": (None, 0),
    "num_beam_groups": (None, 1),
    "num_return_sequences": (None, 1),
    "early_stopping": (None, False, True),
    "length_penalty": (None, 1),
}
"""Arguments of transformers' ``generate`` that are not here, and the values at which they do nothing."""

BY_TEMPERATURE = "is not here: programs are drawn by temperature, top_k and top_p alone; leave it out"
BEST_OF_N = "is not here: the best of many programs is no sample of the policy, which PPO needs; leave it out"
OF_ILQL = "is a setting of trlx's ILQL, which is not here; leave it out"
ILQL = ("tau", "gamma_q", "cql_scale", "awac_scale", "alpha", "beta", "steps_for_target_q_sync", "two_qs")
NOT_HERE = {
    **{f"method.{kwargs}.{name}": BY_TEMPERATURE for kwargs in KWARGS for name in NEUTRAL},
    **{
        f"method.{kwargs}.{name}": BEST_OF_N
        for kwargs in KWARGS
        for name in ("use_best_of_n", "number_best_of_n", "percentage_best_of_n")
    },
    **{f"method.{name}": OF_ILQL for name in ILQL},
    **{f"method.{kwargs}.beta": OF_ILQL for kwargs in KWARGS},
    "optimizer.kwargs.alpha": "is rmsprop's, which is not here; leave it out",
}
"""Settings of trlx's and transformers' that no run here has, and why."""


def is_sweep(data: Mapping[str, Any]) -> bool:
    """Whether a file is a sweep of trlx's: ``tune_config``, and strategies by full names of settings.

    The sweeps of 2022 have the strategies inside of sections, beside settings that are the same for all.
    """
    return "tune_config" in data or any(_says_strategy(each) for each in flat(data).values())


def flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the strategies and the settings of a sweep by full name, those inside of trlx's sections too."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if name in TRLX_SECTIONS and isinstance(value, dict) and not _says_strategy(value):
            found |= {f"{name}.{key}": each for key, each in value.items()}
        else:
            found[name] = value
    return found


def _says_strategy(value: Any) -> bool:
    return isinstance(value, dict) and "strategy" in value


def adapt(sections: dict[str, Any]) -> list[Note]:
    """Puts into this project's words what trlx's files say otherwise.

    Args:
        sections: settings in today's format; they are changed.

    Returns:
        For each setting that is another one now, what became of it.
    """
    return [
        *_use_mlflow(sections),
        *_name_architecture(sections),
        *_name_optimizer(sections),
        *_sample(sections),
        *_nulls(sections),
    ]


def _use_mlflow(sections: dict[str, Any]) -> list[Note]:
    """Takes MLflow where a file names a tracker of trlx's."""
    train = sections.get("train")
    if not isinstance(train, dict) or train.get("tracker") not in OTHER_TRACKERS:
        return []
    other, train["tracker"] = train["tracker"], "mlflow"
    return [Note("train.tracker", f": runs are recorded in mlflow, not in {other}", "train.tracker")]


def _name_architecture(sections: dict[str, Any]) -> list[Note]:
    model = sections.get("model")
    if not isinstance(model, dict) or model.get("model_arch_type") != "encoder_decoder":
        return []
    model["model_arch_type"] = "seq2seq"
    return [Note("model.model_arch_type", ": encoder_decoder is seq2seq", "model.model_arch_type")]


def _name_optimizer(sections: dict[str, Any]) -> list[Note]:
    """Takes the optimizer itself where a file names the one with moments of 8 bits, which save nothing here."""
    optimizer = sections.get("optimizer")
    name = optimizer.get("name") if isinstance(optimizer, dict) else None
    if not isinstance(optimizer, dict) or not isinstance(name, str) or name not in OPTIMIZERS:
        return []
    optimizer["name"] = OPTIMIZERS[name]
    words = f": {name} is {OPTIMIZERS[name]}; the moments of soft prompts are small"
    return [Note("optimizer.name", words, "optimizer.name")]


def _sample(sections: dict[str, Any]) -> list[Note]:
    """Leaves out arguments of ``generate`` that change nothing."""
    method = sections.get("method")
    holders = {kwargs: method.get(kwargs) for kwargs in KWARGS} if isinstance(method, dict) else {}
    notes = []
    for kwargs, given in holders.items():
        if not isinstance(given, dict):
            continue
        for name in list(given):
            full = f"method.{kwargs}.{name}"
            if name in KNOWN_TO_SAMPLER:
                notes.append(Note(full, "has no effect (the sampler knows it)"))
            elif name in NEUTRAL and given[name] in NEUTRAL[name]:
                notes.append(Note(full, f"has no effect at {given[name]}"))
            else:
                continue
            del given[name]
    return notes


def _nulls(sections: dict[str, Any]) -> list[Note]:
    """Reads None, which is text in YAML, as the null that who wrote it meant."""
    holders = {name: sections[name] for name in TRLX_SECTIONS if isinstance(sections.get(name), dict)}
    inner = {f"{outer}.{name}": each for outer, held in holders.items() for name, each in held.items()}
    holders |= {name: each for name, each in inner.items() if isinstance(each, dict)}
    notes = []
    for prefix, held in holders.items():
        for name in [name for name, value in held.items() if value == "None"]:
            held[name] = None
            notes.append(Note(f"{prefix}.{name}", ": None is read as null", f"{prefix}.{name}"))
    return notes


def replace_adapter(sections: dict[str, Any]) -> Note | None:
    """Takes an adapter of PEFT's out of the settings, and returns what became of it, None where there was none.

    The virtual tokens of PROMPT_TUNING are what a soft prompt has here; other adapters have no counterpart.
    """
    model = sections.get("model")
    adapter = model.get("peft_config") if isinstance(model, dict) else None
    if not isinstance(adapter, dict | str) or not adapter:
        return None
    assert isinstance(model, dict)
    name = "model.peft_config"
    model["peft_config"] = None
    if isinstance(adapter, str):
        said = "prompts are trained on the language model with it where model.model_path names its directory"
        return Note(name, f": the adapter in {adapter} is not used; {said}")
    kind = str(adapter.get("peft_type", "adapter")).rpartition(".")[2]
    if kind.upper() != "PROMPT_TUNING":
        return Note(name, f": {kind} is not used; what is trained here is a soft prompt")
    tokens, said = adapter.get("num_virtual_tokens"), "method.n_soft_tokens"
    method = sections.setdefault("method", {})
    if tokens is None or not isinstance(method, dict):
        return Note(name, f": PROMPT_TUNING is what is done here anyway; {said} is its size")
    if method.get("n_soft_tokens", tokens) != tokens:
        return Note(name, f": its num_virtual_tokens {tokens} is not used; {said} is there too")
    method["n_soft_tokens"] = tokens
    return Note(name, f": PROMPT_TUNING with num_virtual_tokens {tokens} is {said} {tokens}", said)
