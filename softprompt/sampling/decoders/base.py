"""What a decoder promises: prompts are read once, then rows that finish at different times get one token a step."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Decoder(Protocol):
    """Reads prompts with ``prefill``, then decodes one batch of rows after another behind them.

    A batch is ``begin``, then ``step`` and ``keep`` in any order.

    Attributes:
        rows_at_once: rows of a batch beyond which more of them are no faster, or slower; None if there is no such end.
    """

    rows_at_once: int | None

    def prefill(self, embedded: Tensor, padding: Tensor, max_new_tokens: int) -> Tensor:
        """Reads the prompts.

        Args:
            embedded: what the prompts are to the model, left-padded, shape (r, s, d_model).
            padding: cells of padding of each prompt, shape (r,).
            max_new_tokens: most calls of ``step`` that can follow in one batch, plus one.

        Returns:
            Logits of the first token behind each prompt, shape (r, vocab_size), float32.
        """
        ...

    def begin(self, prompt_of: Tensor) -> None:
        """Begins a batch: one row behind each of these prompts, shape (n,), in which a prompt may stand many times."""
        ...

    def step(self, ids: Tensor) -> Tensor:
        """Appends one token to each row, shape (n,), and returns the next logits, shape (n, vocab_size), float32."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Keeps these rows, in this order, and forgets the others."""
        ...
