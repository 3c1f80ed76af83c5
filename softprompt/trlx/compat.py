"""Repairs of trlx 0.7.0 (commit 3340c2f) for transformers 5, peft 0.21 and accelerate 1.15, one a function.

trlx is unmaintained, and cannot even be imported beside these libraries. `apply_repairs` imports it and replaces what
no longer works, or never did, inside this process; no file of trlx's is touched. A run of trlx with these repairs is a
run of *trlx with repairs*, and should be called that.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

COMMIT = "3340c2f"
"""The commit of trlx that these repairs are for, 0.7.0 and the last."""

INSTALL = f"pip install --no-deps git+https://github.com/CarperAI/trlx@{COMMIT}"
"""How to install trlx beside the libraries that this project needs; `NEEDED` it needs too, and they are there."""

NEEDED = ("torch", "transformers", "accelerate", "peft", "ray", "numpy", "rich", "tqdm")
"""What trlx's PPO imports and works with. Its other requirements are for other methods, or stand-ins do for them."""


class TrlxMissingError(ImportError):
    """trlx, or something that it needs, is not installed; the message says how to install it."""


class _AnyShape:
    """Stands in for torchtyping's TensorType, which trlx uses in annotations alone."""

    def __class_getitem__(cls, shape: Any) -> type[_AnyShape]:
        return cls


STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "torchtyping": {"TensorType": _AnyShape},
    "deepspeed": {"zero": types.SimpleNamespace(GatheredParameters=lambda *_, **__: nullcontext())},
    "wandb": {"Table": lambda *_, **__: None},
}
"""What trlx uses of the modules that it imports and PPO on one machine has no need of."""


@contextmanager
def absent_modules() -> Iterator[tuple[str, ...]]:
    """Repair: deepspeed, torchtyping and wandb are imported by trlx even where they are not used.

    Those that are not installed are stand-ins while the context lasts, and gone afterwards: other libraries ask whether
    such a module is there, and a stand-in would be taken for it. Yields the names of the stand-ins.
    """
    names = tuple(name for name in STAND_INS if not _installed(name))
    for name in names:
        module = types.ModuleType(name)
        module.__dict__.update(STAND_INS[name])
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = module
    try:
        yield names
    finally:
        for name in names:
            sys.modules.pop(name, None)


def _installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def peft_names() -> None:
    """Repair: trlx imports ``prepare_model_for_int8_training``, which peft renamed in 0.10."""
    import peft

    vars(peft).setdefault("prepare_model_for_int8_training", peft.prepare_model_for_kbit_training)


def decorated_forwards() -> None:
    """Repair: trlx passes a model only the arguments that ``inspect.getfullargspec`` lists of its forward.

    Forwards are decorated in transformers 5, and getfullargspec does not look through decorators as
    ``inspect.signature`` does: no argument was left, not even the token ids.
    """
    import trlx.models.modeling_base as base

    through = types.ModuleType("inspect")
    through.__dict__.update(inspect.__dict__)
    through.__dict__["getfullargspec"] = _parameters
    base.inspect = through


def _parameters(function: Callable[..., Any]) -> Any:
    """What `decorated_forwards` puts in the place of getfullargspec: an object whose ``args`` are parameters' names."""
    return types.SimpleNamespace(args=list(inspect.signature(function).parameters))


def branch_attention() -> None:
    """Repair: a reference branch is a PreTrainedModel, and transformers refuses one that names no attention it has."""
    from trlx.models.modeling_ppo import ModelBranch

    for name in ("_supports_sdpa", "_supports_flash_attn", "_supports_flex_attn"):
        setattr(ModelBranch, name, True)


def branch_forwards() -> None:
    """Repair: the forward of a reference branch, for GPT-2's family and Llama's.

    trlx has copies of transformers' loops of 2023, which call blocks as no block of today wants to be called, take
    masks that are not causal under sdpa (log-probabilities were off by 0.2 at the start), and know no rotary embedding
    that is computed once for all blocks. Here the blocks are called with what they take.
    """
    import trlx.models.modeling_ppo as ppo

    for branch in (ppo.GPTModelBranch, ppo.LlamaModelBranch):
        branch.forward = functools.partialmethod(_branch_forward, ppo.CausalLMOutputWithValue)
        keep_rotary(branch)  # GPT-NeoX, which trlx counts as GPT-2's family, has one too


def keep_rotary(branch: Any) -> None:
    """Lets a branch keep its model's rotary embedding, which blocks no longer have of their own."""
    made = branch.__init__

    def make(self: Any, base_model: Any, **settings: Any) -> None:
        made(self, base_model, **settings)
        self.rotary = getattr(base_model.base_model, "rotary_emb", None)

    branch.__init__ = make


def _branch_forward(
    self: Any,
    output: Callable[..., Any],
    hidden_states: Any,
    output_shape: Any = None,
    attention_mask: Any = None,
    position_ids: Any = None,
    return_dict: bool = False,
    **_: Any,
) -> Any:
    """The forward of `branch_forwards`, from the hidden states that go into the branch, shape (b, t, d)."""
    import torch

    length, device, dtype = hidden_states.shape[1], hidden_states.device, hidden_states.dtype
    seen = torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]
    if attention_mask is not None:
        seen = seen & attention_mask.bool()[:, None, None, :]
    mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
    inputs: dict[str, Any] = {"attention_mask": mask}
    if getattr(self, "rotary", None) is not None:
        if position_ids is None:
            position_ids = torch.arange(length, device=device)[None]
        inputs |= {"position_ids": position_ids, "position_embeddings": self.rotary(hidden_states, position_ids)}
    for block in self.decoder_blocks:
        found = block(hidden_states, **inputs)
        hidden_states = found[0] if isinstance(found, tuple) else found
    logits = self.lm_head(self.final_norm(hidden_states))
    return output(logits=logits) if return_dict else (logits, None, None)


def frozen_reference() -> None:
    """Repair: where ``num_layers_unfrozen`` is 0 or -1, the reference branch was made of the wrong layers.

    trlx took the blocks ``[-n:]`` for any n: all of them for 0, fed with the last hidden states, and all but the first
    for -1. Without a branch trlx's trainer loads a whole second model as the reference, which is right for both.
    """
    from trlx.models.modeling_ppo import AutoModelForCausalLMWithHydraValueHead as Model

    Model.post_init = _post_init
    Model.state_dict = _state_dict


def _post_init(self: Any, state_dict: Mapping[str, Any]) -> None:
    """Loads weights; where there is no branch no attribute frozen_head stays, as trlx asks for its presence."""
    of_trlx = any(name.startswith(("base_model.", "v_head.")) for name in state_dict)
    self.load_state_dict(state_dict, strict=of_trlx and not self.peft_type)
    if self.frozen_head is None:
        self.__dict__.pop("frozen_head", None)
        self._modules.pop("frozen_head", None)


def _state_dict(self: Any, *args: Any, heads_only: bool = False, prefix: str = "", **settings: Any) -> dict[str, Any]:
    """The state of the model and its heads, with a branch only where there is one."""
    state = dict(self.v_head.state_dict(*args, prefix=f"{prefix}v_head.", **settings))
    if not heads_only:
        own = prefix if self.peft_type else f"{prefix}base_model."
        state |= self.base_model.state_dict(*args, prefix=own, **settings)
        if (branch := getattr(self, "frozen_head", None)) is not None:
            state |= branch.state_dict(*args, prefix=f"{prefix}frozen_head.", **settings)
    return state


def safetensors_models() -> None:
    """Repair: trlx reads weights a second time from ``pytorch_model.bin``, which models of today do not have.

    A model without such a file is loaded by transformers and handed to trlx, which takes models too.
    """
    from trlx.models.modeling_base import PreTrainedModelWrapper

    original = PreTrainedModelWrapper.from_pretrained.__func__

    @classmethod  # type: ignore[misc]
    @functools.wraps(original)
    def from_pretrained(cls: Any, source: Any, *args: Any, **settings: Any) -> Any:
        if isinstance(source, str) and not _is_of_2023(source) and settings.get("peft_config") is None:
            own, others = cls._split_kwargs(settings)
            settings.pop("peft_config", None)
            source = cls._auto_model_parent_class.from_pretrained(source, **others)
            settings = own
        return original(cls, source, *args, **settings)

    PreTrainedModelWrapper.from_pretrained = from_pretrained


def _is_of_2023(source: str) -> bool:
    """Whether a directory holds what trlx reads itself: weights in a .bin file, or a PEFT adapter."""
    names = ("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_config.json")
    return any((Path(source) / name).exists() for name in names)


def tied_checkpoints() -> None:
    """Repair: accelerate saves checkpoints as safetensors by default, which refuse a head that is the embedding."""
    from accelerate import Accelerator

    Accelerator.save_state = functools.partialmethod(Accelerator.save_state, safe_serialization=False)


BEFORE_IMPORT: tuple[Callable[[], None], ...] = (peft_names,)
AFTER_IMPORT: tuple[Callable[[], None], ...] = (
    decorated_forwards,
    branch_attention,
    branch_forwards,
    frozen_reference,
    safetensors_models,
    tied_checkpoints,
)


@functools.cache
def apply_repairs() -> tuple[str, ...]:
    """Imports trlx and repairs it in this process; a second call does nothing.

    Returns:
        The names of the repairs, in the order in which they were made.

    Raises:
        TrlxMissingError: trlx is not installed, or it is another version that cannot be repaired.
    """
    if importlib.util.find_spec("trlx") is None:
        raise TrlxMissingError(f"trlx is not installed; install it with: {INSTALL}")
    for name in ("opt", "bloom"):  # while no stand-in is there: they ask what is installed
        importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    for repair in BEFORE_IMPORT:
        repair()
    with absent_modules():
        try:
            importlib.import_module("trlx.trainer.accelerate_ppo_trainer")
            importlib.import_module("trlx.utils.loading")
        except ImportError as error:
            raise TrlxMissingError(
                f"trlx cannot be imported: {error}; these repairs are for commit {COMMIT}"
            ) from error
    for repair in AFTER_IMPORT:
        repair()
    return tuple(repair.__name__ for repair in (*BEFORE_IMPORT, absent_modules, *AFTER_IMPORT))
