"""Recognises files that no run can use (ILQL, SFT, NeMo, accelerate, sweeps), and reads trlx's adapter settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distributed.errors import UserError

ACCELERATE = ("compute_environment", "distributed_type", "deepspeed_config")
METHODS = {"ilql": "ILQL", "sft": "supervised fine-tuning (SFT)", "rft": "rejection fine-tuning (RFT)"}
"""trlx's other methods, by what the names of their configurations and trainers hold."""

REMEDY = "write one with sections such as method: and train:, as configs/quickstart.yml has them"


def check_kind(data: Mapping[str, Any]) -> None:
    """Checks that the sections of a file are those of a run, in whatever format.

    Raises:
        UserError: they are of something else; the message says of what, and what to do.
    """
    method, train = _section(data, "method"), _section(data, "train")
    if found := next((name for name in ACCELERATE if name in data), None):
        raise UserError(
            f"this is a configuration of accelerate ({found}), which is not used here: rollouts.workers and "
            f"compute.device say where a run computes; {REMEDY}"
        )
    if "exp_manager" in data or isinstance(data.get("trainer"), dict):
        found = "exp_manager" if "exp_manager" in data else "trainer"
        raise UserError(f"this is a configuration of NeMo ({found}), which is not used here; {REMEDY}")
    trainer = str(train.get("trainer") or "")
    if trainer.casefold().startswith("nemo"):
        raise UserError(
            f"train.trainer: {trainer} is one of NeMo, which is not used here; leave it out, and name in "
            "model.model_path a language model that transformers reads"
        )
    for name, said in (("method.name", str(method.get("name") or "")), ("train.trainer", trainer)):
        kind = next((words for part, words in METHODS.items() if part in said.casefold()), None)
        if kind:
            raise UserError(
                f"{name}: {said} is trlx's {kind}, which learns from samples that are given; here prompts learn from "
                "scores by PPO: take trlx's configuration of PPO, or set method.name to PPOConfig and leave out what "
                "`terraprompt settings method` does not list"
            )
    if is_sweep(data):
        raise UserError(
            "this is a sweep of trlx's, which says what differs between runs: give it to "
            "`terraprompt search --config BASE.yml --sweep FILE`"
        )


def _section(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = data.get(name)
    return section if isinstance(section, dict) else {}


def is_sweep(data: Mapping[str, Any]) -> bool:
    """Whether a file is a sweep of trlx's: ``tune_config``, and strategies by full names of settings."""
    return "tune_config" in data or any(isinstance(each, dict) and "strategy" in each for each in data.values())


def replace_adapter(sections: dict[str, Any]) -> str | None:
    """Takes an adapter of PEFT's out of the settings, and returns what became of it, None where there was none.

    The virtual tokens of PROMPT_TUNING are what a soft prompt has here; other adapters have no counterpart.
    """
    model = sections.get("model")
    adapter = model.get("peft_config") if isinstance(model, dict) else None
    if not isinstance(adapter, dict | str) or not adapter:
        return None
    assert isinstance(model, dict)
    model["peft_config"] = None
    if isinstance(adapter, str):
        return f"model.peft_config: the adapter in {adapter} is not used; what is trained here is a soft prompt"
    kind = str(adapter.get("peft_type", "adapter")).rpartition(".")[2]
    if kind.upper() != "PROMPT_TUNING":
        return f"model.peft_config: {kind} is not used; what is trained here is a soft prompt"
    tokens = adapter.get("num_virtual_tokens")
    method = sections.setdefault("method", {})
    if tokens is None or not isinstance(method, dict):
        return "model.peft_config: PROMPT_TUNING is what is done here anyway; method.n_soft_tokens is its size"
    if method.get("n_soft_tokens", tokens) != tokens:
        return f"model.peft_config: its num_virtual_tokens {tokens} is not used; method.n_soft_tokens is there too"
    method["n_soft_tokens"] = tokens
    return f"model.peft_config: PROMPT_TUNING with num_virtual_tokens {tokens} is method.n_soft_tokens {tokens}"
