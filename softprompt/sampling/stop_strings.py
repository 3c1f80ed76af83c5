"""Programs that end at a text: a watch over what each row has written."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

LETTERS = "abcdef"


class TokenTexts:
    """What each token adds to a text, looked up once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Keeps a tokenizer."""
        self._tokenizer = tokenizer
        self._before = tokenizer.tokenize(LETTERS)
        self._known: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        """Returns the text that this token adds; behind letters, as some tokenizers trim what comes first."""
        if token not in self._known:
            pieces = [piece for piece in self._tokenizer.convert_ids_to_tokens([token]) if piece]
            whole = self._tokenizer.convert_tokens_to_string([*self._before, *pieces])
            self._known[token] = whole[whole.index(LETTERS) + len(LETTERS) :]
        return self._known[token]


class StopWatch:
    """Says which rows have just completed one of the strings, wherever tokens begin and end.

    A string may begin in the instruction, and the token that completes it may go on behind it, as with transformers'
    ``stop_strings``. Letters whose bytes are spread over several tokens are not recognised.
    """

    def __init__(self, texts: TokenTexts, strings: Sequence[str], instructions: Sequence[Sequence[int]]) -> None:
        """Begins a batch.

        Args:
            texts: of the tokens.
            strings: what to stop at.
            instructions: token ids that stand before each row's first token.
        """
        self._texts, self._strings = texts, strings
        self._longest = max(len(string) for string in strings)
        self._tails = [self._cut("".join(texts[token] for token in row)) for row in instructions]

    def has_stopped(self, rows: Sequence[int], tokens: Sequence[int]) -> list[bool]:
        """Returns for each of these rows whether this next token of it completes a string.

        Args:
            rows: numbers of rows.
            tokens: one for each of them.
        """
        stopped = []
        for row, token in zip(rows, tokens, strict=True):
            text = self._texts[token]
            tail = self._tails[row] + text
            # A match has to end in the new text.
            begin = (max(0, len(tail) - len(text) - len(string) + 1) for string in self._strings)
            stopped.append(any(tail.find(s, first) >= 0 for s, first in zip(self._strings, begin, strict=True)))
            self._tails[row] = self._cut(tail)
        return stopped

    def _cut(self, text: str) -> str:
        return text[max(0, len(text) - self._longest) :]
