"""Soft prompts in PEFT's format for prompt tuning: a directory that ``PeftModel.from_pretrained`` reads.

It holds ``adapter_config.json`` and ``adapter_model.safetensors``, as ``PeftModel.save_pretrained`` writes them (peft
0.21, tuners/prompt_tuning). PEFT puts the rows before the embedded tokens, which is what this project does too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PretrainedConfig

CONFIG_FILE, WEIGHTS_FILE, PICKLED_FILE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
ROWS = "prompt_embeddings"
KIND, TASK = "PROMPT_TUNING", "CAUSAL_LM"


@dataclass(frozen=True)
class SavedPrompt:
    """A soft prompt read back.

    Attributes:
        rows: shape (n_soft_tokens, d_model), float32.
        base_model: directory or hub id of the language model it was tuned for, or None where the directory does not
            say.
    """

    rows: Tensor
    base_model: str | None


def save_prompt(
    directory: str | Path, rows: Tensor, base_model: str | None, model_config: PretrainedConfig | None = None
) -> Path:
    """Writes a soft prompt as a PEFT prompt-tuning directory.

    Args:
        directory: directory to write into; made where it is not there.
        rows: shape (n_soft_tokens, d_model), any floating type; written as float32.
        base_model: directory or hub id of the language model, which is named and not copied.
        model_config: the language model's configuration, from which PEFT notes layers and heads; PEFT looks them up
            itself where they are missing.

    Returns:
        The directory.

    Raises:
        ValueError: the rows are no prompt, or not all of them are finite.
    """
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"a soft prompt has shape (n_soft_tokens, d_model), not {tuple(rows.shape)}")
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("the soft prompt holds numbers that are not finite")
    # Imported here: peft takes seconds to import, and reading a prompt needs none of it.
    from peft import PromptTuningConfig, TaskType

    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=base_model,
        inference_mode=True,
        num_virtual_tokens=rows.shape[0],
        token_dim=rows.shape[1],
        num_transformer_submodules=1,
        num_layers=getattr(model_config, "num_hidden_layers", None),
        num_attention_heads=getattr(model_config, "num_attention_heads", None),
    )
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    # A copy of its own: safetensors refuses a view of a larger table.
    own = rows.detach().to("cpu", torch.float32, copy=True, memory_format=torch.contiguous_format)
    save_file({ROWS: own}, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config.save_pretrained(str(folder))
    return folder


def load_prompt(directory: str | Path) -> SavedPrompt:
    """Reads a soft prompt from a PEFT prompt-tuning directory, whoever trained it. Nothing pickled is ever read.

    Args:
        directory: what :func:`save_prompt` or PEFT's ``save_pretrained`` wrote.

    Raises:
        ValueError: the directory holds no soft prompt of a causal language model; the message is one line.
    """
    folder = Path(directory)
    config = _read_config(folder)
    kind, task = config.get("peft_type"), config.get("task_type")
    if kind != KIND:
        raise ValueError(f"the adapter in {str(folder)!r} is {kind}, and a soft prompt is {KIND}")
    if task != TASK or config.get("num_transformer_submodules") not in (None, 1):
        raise ValueError(f"the soft prompt in {str(folder)!r} is for {task}, not for a causal language model ({TASK})")
    rows = _read_rows(folder)
    said = config.get("num_virtual_tokens"), config.get("token_dim")
    if rows.ndim != 2 or any(n is not None and n != size for n, size in zip(said, rows.shape, strict=True)):
        raise ValueError(
            f"the soft prompt in {str(folder)!r} has shape {tuple(rows.shape)}, its {CONFIG_FILE} says {said}"
        )
    if not bool(torch.isfinite(rows).all()):
        raise ValueError(f"the soft prompt in {str(folder)!r} holds numbers that are not finite")
    return SavedPrompt(rows, config.get("base_model_name_or_path"))


def _read_config(folder: Path) -> dict:
    if not folder.is_dir():
        raise ValueError(f"there is no directory {str(folder)!r}")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no adapter in {str(folder)!r}: the directory has no {CONFIG_FILE}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {str(folder / CONFIG_FILE)!r}: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{str(folder / CONFIG_FILE)!r} holds no settings of an adapter")
    return config


def _read_rows(folder: Path) -> Tensor:
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        hint = ""
        if (folder / PICKLED_FILE).exists():
            hint = f", only {PICKLED_FILE}, which is pickled and not read: save it with safe_serialization=True"
        raise ValueError(f"no soft prompt in {str(folder)!r}: the directory has no {WEIGHTS_FILE}{hint}")
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {str(file)!r}: {error}") from None
    if ROWS not in tensors:
        raise ValueError(f"no soft prompt in {str(file)!r}: it has no tensor {ROWS}")
    return tensors[ROWS].to(torch.float32)
