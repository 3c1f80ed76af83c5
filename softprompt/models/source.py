"""Where a language model comes from: a directory or a name on the hub, and whether it is a model that can be used."""

from __future__ import annotations

import difflib
import os
import sys
import threading
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import get_session
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as hf_logging

LOADING = threading.RLock()
"""Held while a model is made: transformers changes classes meanwhile, which two threads would leave changed."""


def resolve(path: str | Path) -> str:
    """Returns a directory with a model or a hub id; for a path that is neither, raises and names the nearest path."""
    local = Path(os.path.expanduser(path))
    if local.is_dir():
        if not any((local / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ValueError(f"no language model in {str(local)!r}: the directory has no config.json")
        return str(local)
    if local.is_file():
        raise ValueError(f"{str(path)!r} is a file; a language model is a directory, or a name on the hub")
    has_hub_form = isinstance(path, str) and path.count("/") <= 1 and not path.startswith((".", "/", "~"))
    if has_hub_form and not (local.parent != Path(".") and local.parent.is_dir()):
        return str(path)
    ancestor = next(parent for parent in local.absolute().parents if parent.exists())
    wanted = local.absolute().relative_to(ancestor).parts[0]
    similar = difflib.get_close_matches(wanted, [child.name for child in ancestor.iterdir()], n=1)
    raise ValueError(
        f"no language model at {str(path)!r}; the nearest existing path is {str(ancestor.joinpath(*similar))!r}"
    )


def check_kind(source: str, config: PretrainedConfig) -> None:
    """Raises ValueError for models that transformers would load as causal ones, and that are not."""
    kinds = getattr(config, "architectures", None) or []
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"it is a {config.model_type} model, which has an encoder, and not a causal one")
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(f"it is a {config.model_type} model, and not a causal one")
    if kinds and all(kind.endswith("ForMaskedLM") for kind in kinds):
        raise ValueError(f"it is a {kinds[0]}, which fills gaps, and not a causal one")


def first_line(error: Exception) -> str:
    """Returns why a model could not be loaded, in one line."""
    if "trust_remote_code" in str(error):
        return "it comes with code of its own, which is never run here; take a model that transformers knows itself"
    if "ignore_mismatched_sizes" in str(error):
        return "its weights have other shapes than its config.json says"
    if "Weights only load failed" in str(error):
        return "its weights are a pickle that holds more than numbers, which is never read; take one with safetensors"
    first, _, rest = str(error).strip().partition("\n")
    return f"{first} {rest.strip().partition(chr(10))[0]}" if first.endswith(":") else first or type(error).__name__


def hub_options(source: str) -> dict[str, bool]:
    """Returns what ``from_pretrained`` is told of a hub that does not answer: to look into the cache alone.

    Without it every file is asked for six times, which takes half a minute and prints two lines each time.
    """
    if Path(source).is_dir() or constants.is_offline_mode():
        return {}
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # of the hub's own client, whose library has another name from version to version
        return {"local_files_only": True}
    return {}


def quiet_bars() -> None:
    """Turns off the progress bars of transformers where no person watches: they fill logs with half lines."""
    if sys.stderr is None or not sys.stderr.isatty():
        hf_logging.disable_progress_bar()
