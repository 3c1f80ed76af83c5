"""Language models that are an adapter of PEFT's on another one, such as LoRA's: merged, so that all else sees one.

Merging adds what an adapter adds to a layer's weights to the weights themselves (Hu et al. 2021, arXiv 2106.09685,
section 4.1). Exported models have a copy of this file: it imports nothing of this project.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT writes before the names of a model's modules."""


def base_of(folder: Path) -> str:
    """Returns the directory or the name on the hub of the language model that an adapter belongs to.

    A path in an adapter that does not begin at the root is looked for beside the adapter, then in this directory.

    Raises:
        ValueError: the adapter is no part of a language model, or does not say of which; the message is one line.
    """
    config, named = _config(folder), repr(str(folder))
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ValueError(
            f"the adapter in {named} does not say of which language model: base_model_name_or_path is {base!r}"
        )
    kind = str(config.get("peft_type")).rpartition(".")[2].upper()
    if kind == "PROMPT_TUNING":
        raise ValueError(
            f"{named} holds a soft prompt and no language model: name its language model, {base!r}, and let prompts "
            f"start from the soft prompt with method.initialize_from={folder}"
        )
    if config.get("task_type") not in ("CAUSAL_LM", None):
        raise ValueError(f"the adapter in {named} is for {config['task_type']}, and not for a causal language model")
    beside = folder / base
    return str(beside) if (beside / "config.json").is_file() or (beside / CONFIG_FILE).is_file() else base


def merge(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Adds an adapter to the language model that it belongs to; global chance is left alone.

    Args:
        model: the language model, in float32: sums in fewer bits would lose the adapter's last ones. It is changed.
        folder: PEFT's directory, with ``adapter_config.json`` and ``adapter_model.safetensors``. Pickles are not read.

    Returns:
        The language model with the adapter in its weights. Where the adapter has trained embeddings apart from the
        head, or has more rows of them, they are so.

    Raises:
        ValueError: the adapter cannot be read or merged, or is not one of this language model; one line.
    """
    weights = _weights(folder)
    # Imported here: peft takes seconds to import, and most models are no adapters.
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    try:
        config = PeftConfig.from_pretrained(str(folder))
        if config.is_prompt_learning:
            raise ValueError(f"{config.peft_type.value} puts rows before each layer's keys")
        config.inference_mode = True
        _fit_rows(model, weights)
        _part_embeddings(model, weights, config)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = get_peft_model(model, config)
            found: Any = set_peft_model_state_dict(adapted, weights)
            lost = [*found.unexpected_keys, *(name for name in found.missing_keys if ".default." in name)]
            if lost:
                raise ValueError(f"{lost[0].removeprefix(PREFIX)} is in one of them only")
            merged = adapted.merge_and_unload(safe_merge=True)
    except Exception as error:  # of whatever kind PEFT has for settings and weights that do not fit
        raise ValueError(
            f"the adapter in {str(folder)!r} cannot be merged into its language model: {_said(error)}"
        ) from error
    _join_embeddings(merged)
    merged.config.vocab_size = merged.get_input_embeddings().weight.shape[0]
    return merged


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {str(folder / CONFIG_FILE)!r}: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{str(folder / CONFIG_FILE)!r} holds no settings of an adapter")
    return config


def _weights(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / WEIGHTS_FILE)
    except FileNotFoundError:
        raise ValueError(
            f"the adapter in {str(folder)!r} has no {WEIGHTS_FILE}; pickled ones are not read: save it anew with "
            "PEFT's save_pretrained"
        ) from None
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {str(folder / WEIGHTS_FILE)!r}: {error}") from None


def _said(error: Exception) -> str:
    """An error in one line, with the first of the things that it lists."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, KeyError) or not lines:
        return f"{type(error).__name__} {' '.join(lines)}".strip()
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _name_of(model: PreTrainedModel, module: nn.Module | None) -> str | None:
    return next((name for name, each in model.named_modules() if each is module), None)


def _fit_rows(model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
    """Gives the embedding as many rows as the adapter's own has, where tokens were added before it was trained."""
    embedding: Any = model.get_input_embeddings()
    name = _name_of(model, embedding)
    for key, tensor in weights.items():
        own = key.removeprefix(PREFIX).startswith(f"{name}.") and key.endswith("weight") and "lora_" not in key
        if own and len(tensor) != len(embedding.weight):
            model.resize_token_embeddings(len(tensor), mean_resizing=False)
            return


def _part_embeddings(model: PreTrainedModel, weights: dict[str, Tensor], config: Any) -> None:
    """Gives a tied head weights of its own where an adapter has trained it or the embedding, and not both as one."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight or getattr(config, "ensure_weight_tying", False):
        return
    names = tuple(f"{_name_of(model, each)}." for each in (head, embedding))
    if any(key.removeprefix(PREFIX).startswith(names) for key in weights):
        head.weight = nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False


def _join_embeddings(model: PreTrainedModel) -> None:
    """Ties embedding and head again where they are the same, and says in the configuration whether they are."""
    head: Any = model.get_output_embeddings()
    embedding: Any = model.get_input_embeddings()
    if head is None or head.weight is embedding.weight or head.weight.shape != embedding.weight.shape:
        return
    model.config.tie_word_embeddings = torch.equal(head.weight, embedding.weight)
    model.tie_weights()
