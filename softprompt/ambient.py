"""What a process has set in torch for everything that is computed in it, and computing as if it had not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def usual_torch() -> Iterator[None]:
    """Computes in float32 and with gradients where nothing else is said, as torch does by itself.

    A notebook may have turned gradients off, or chosen float64; so may what is called meanwhile. Both are put back.
    """
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
