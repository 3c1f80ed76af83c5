"""Checks for NaN and infinity; the error says what was not finite, and behind which prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor


class NotFiniteError(ArithmeticError):
    """NaN or infinity where a number has to be. The same work gives it again, so it is of no use to repeat it.

    Attributes:
        what: what is not finite, such as ``the loss``.
        terrains: rows of the prompts that are affected; none where that cannot be told.
    """

    def __init__(self, what: str, terrains: Iterable[int] = ()) -> None:
        """Takes what is not finite, and where."""
        self.what, self.terrains = what, tuple(terrains)
        super().__init__(what, self.terrains)

    def __str__(self) -> str:
        where = f" behind prompts {', '.join(map(str, self.terrains))}" if self.terrains else ""
        return f"{self.what} is not finite{where}"


def check_rows(what: str, x: Tensor, terrain: Tensor) -> None:
    """Checks that all numbers are finite.

    Args:
        what: what they are, for the message.
        x: shape (n, ...).
        terrain: row of the prompts that each row of x belongs to, shape (n,).

    Raises:
        NotFiniteError: one is not.
    """
    broken = ~torch.isfinite(x).flatten(1).all(dim=1)
    if bool(broken.any()):
        raise NotFiniteError(what, terrain[broken].unique().tolist())


def check_step(loss: float, parameters: Iterable[Tensor], of_prompts: Tensor) -> None:
    """Checks a loss and its gradients before an optimizer moves anything by them.

    Args:
        loss: the loss.
        parameters: what is trained, behind the backward pass.
        of_prompts: gradients of the prompts, shape (n_terrains, ...), which tell the terrains.

    Raises:
        NotFiniteError: one of them is not finite.
    """
    norms = [p.grad.detach().float().norm() for p in parameters if p.grad is not None]
    if math.isfinite(loss) and (not norms or bool(torch.isfinite(torch.stack(norms)).all())):
        return
    broken = ~torch.isfinite(of_prompts).flatten(1).all(dim=1)
    what = "the gradient" if math.isfinite(loss) else "the loss"
    raise NotFiniteError(what, broken.nonzero()[:, 0].tolist())


def check_parameters(parameters: Iterable[Tensor]) -> None:
    """Checks what an optimizer has made of the parameters; raises NotFiniteError."""
    if not all(bool(torch.isfinite(p.detach()).all()) for p in parameters):
        raise NotFiniteError("a trained parameter")
