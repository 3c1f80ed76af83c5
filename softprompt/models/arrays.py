"""Tensors as numpy arrays over the same memory, and back, bfloat16 included."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor


def to_array(tensor: Tensor) -> np.ndarray:
    """Returns a tensor's memory as an array, copied only from another device; bfloat16 as the bits, uint16."""
    tensor = tensor.cpu()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def to_tensor(array: np.ndarray) -> Tensor:
    """Returns the tensor that :func:`to_array` was given, around the array's own memory."""
    with warnings.catch_warnings():
        # Arrays from shared memory are read-only, which torch cannot express; frozen weights are never written to.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor
