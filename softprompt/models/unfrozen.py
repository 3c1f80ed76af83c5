"""Training the top of the language model too, in a copy that shares with the frozen model all that stays frozen."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from softprompt.models.arrays import to_array, to_tensor
from softprompt.models.frozen import FrozenLM
from softprompt.models.quantize import is_quantized


def top_layers(model: PreTrainedModel, n_layers: int) -> list[str]:
    """Returns the names of the parameters of the top blocks.

    Args:
        model: any causal language model of transformers.
        n_layers: how many blocks, from the top; -1 for all of the model, its embeddings and head included.

    Raises:
        ValueError: the model has fewer blocks, or none that can be found, or its weights are codes of few bits.
    """
    if is_quantized(model):
        raise ValueError("the language model's weights are codes of few bits, which cannot be trained")
    names = [name for name, _ in model.named_parameters()]
    if n_layers == -1:
        return names
    count = getattr(model.config, "num_hidden_layers", None)
    found = [
        (name, len(module))
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if not found:
        raise ValueError(f"no blocks can be found in a {model.config.model_type} model")
    stack, length = found[0]
    if not 1 <= n_layers <= length:
        raise ValueError(f"{n_layers} layers are to be trained, and the language model has {length}")
    chosen = tuple(f"{stack}.{index}." for index in range(length - n_layers, length))
    return [name for name in names if name.startswith(chosen)]


class UnfrozenLM(FrozenLM):
    """A language model some of whose parameters are its own and are trained; all others are the frozen model's.

    The frozen model stays what it was, so that it is the reference of this policy, at the price of a copy of the
    trained parameters alone.

    Attributes:
        trained: the parameters that are trained, by name.
    """

    def __init__(self, frozen: FrozenLM, names: Collection[str]) -> None:
        """Copies some parameters of a frozen model.

        Args:
            frozen: shared but for these.
            names: names of its parameters, such as those from :func:`top_layers`.
        """
        own = {id(p) for name, p in frozen.model.named_parameters() if name in names}
        tensors = [*frozen.model.parameters(), *frozen.model.buffers()]
        # What is in this memo counts as copied already.
        model = copy.deepcopy(frozen.model, {id(t): t for t in tensors if id(t) not in own})
        super().__init__(model, frozen.tokenizer, frozen.token_counts, frozen.chat)
        self.trained: dict[str, nn.Parameter] = {
            name: p.requires_grad_(True) for name, p in model.named_parameters() if name in names
        }

    def weights(self) -> dict[str, np.ndarray]:
        """Returns a copy of what is trained, by name; bfloat16 as its bits."""
        return {name: to_array(p.detach()).copy() for name, p in self.trained.items()}

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, np.ndarray | Tensor]) -> None:
        """Takes over what was trained elsewhere.

        Args:
            weights: what :meth:`weights` returned, or tensors.

        Raises:
            ValueError: they are not the parameters that are trained here.
        """
        tensors = {name: to_tensor(w) if isinstance(w, np.ndarray) else w for name, w in weights.items()}
        shapes = {name: p.shape for name, p in self.trained.items()}
        if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
            raise ValueError("the weights are not those of the layers that are trained")
        for name, tensor in tensors.items():
            self.trained[name].copy_(tensor)
