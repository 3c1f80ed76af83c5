"""GGUF files, in which llama.cpp keeps quantised models, rewritten as directories that transformers reads."""

from __future__ import annotations

import importlib.util
import io
import sys
from contextlib import nullcontext, redirect_stderr
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from softprompt.models.frozen import FrozenLM
from softprompt.models.source import first_line, quiet_bars


def check_gguf() -> None:
    """Checks that the package is there with which transformers reads such files.

    Raises:
        ValueError: it is not.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ValueError("gguf is not installed: pip install 'terraprompt[reviews]', or gguf alone")


def convert_gguf(file: Path, folder: Path) -> None:
    """Writes the model of a GGUF file and its tokenizer as safetensors and JSON, and checks that they can be read.

    The weights are what the quantised numbers stand for, in float32.

    Args:
        file: the GGUF file.
        folder: where the model is written; it must exist, and is left as it is where something fails.

    Raises:
        ValueError: the file holds no language model that transformers reads; the message is one line.
        OSError: the directory cannot be written.
    """
    check_gguf()
    quiet_bars()
    where = {"gguf_file": file.name, "local_files_only": True}
    try:
        # Its bar is none of those that transformers can turn off.
        with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
            model = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **where)
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **where)
    except Exception as error:  # gguf and transformers raise whatever comes of bytes they do not understand
        raise ValueError(f"{str(file)!r} holds no language model that can be read: {first_line(error)}") from error
    # The weights are plain numbers by now, but transformers refuses to save what has been quantised.
    for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, name):
            delattr(owner, name)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    del model
    _check(folder)


def _check(folder: Path) -> None:
    lm = FrozenLM.load(folder)
    ids = torch.tensor([lm.tokenizer("Two and two is", add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        logits = lm.model(ids).logits
    if not torch.isfinite(logits).all():
        raise ValueError("the file's weights give no numbers: it is damaged, or of a kind that is read wrongly")
