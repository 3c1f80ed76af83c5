"""Between texts and token ids around a program: the instruction a program follows, and the whole text it makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from softprompt.models.chat import ChatError
from softprompt.models.frozen import FrozenLM


def readable_ids(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int], n_rows: int) -> list[int]:
    """Returns token ids without the special ones that were added to a tokenizer alone and the model has no row for.

    Args:
        tokenizer: the tokenizer.
        ids: token ids of a text.
        n_rows: rows of the model's embedding.

    Raises:
        ValueError: the model has no row for a token that is part of the text.
    """
    read = [token for token in ids if token < n_rows or token not in tokenizer.all_special_ids]
    if beyond := [token for token in read if token >= n_rows]:
        token = tokenizer.convert_ids_to_tokens(beyond[0])
        raise ValueError(f"the tokenizer has a token {token!r}, and the language model no row for it")
    return read


def instruction_ids(lm: FrozenLM, instruction: str) -> tuple[int, ...]:
    """Returns token ids of a hard prompt as in pretraining: with the start token if the tokenizer sets one, and no end.

    Of a model that is talked to, they are those of the conversation up to where its own turn begins.

    Raises:
        ValueError: the language model has no row for a token of it, or it has half of a character.
        ChatError: its template does not take this instruction, or writes tokens that the model has no rows for.
    """
    instruction.encode("utf-8")  # tokenizers would not say what is wrong
    if lm.chat is not None:
        said = lm.chat.instruction_ids(lm.tokenizer, instruction)
        if beyond := [token for token in said if token >= lm.vocab_size]:
            token = lm.tokenizer.convert_ids_to_tokens(beyond[0])
            raise ChatError(
                f"the chat template writes {token!r}, and the language model has no row for it; leave it off"
            )
        return tuple(said)
    ids = readable_ids(lm.tokenizer, lm.tokenizer(instruction)["input_ids"], lm.vocab_size)
    return tuple(ids[:-1] if len(ids) > 1 and ids[-1] == lm.eos_id else ids)


def program_texts(
    tokenizer: PreTrainedTokenizerBase,
    instructions: Sequence[str],
    before: Sequence[Sequence[int]],
    rows: Sequence[Sequence[int]],
) -> list[str]:
    """Returns whole programs, instruction and continuation, without special tokens.

    The continuation is decoded together with the instruction's tokens, because some tokenizers trim a text that is
    decoded alone; the instruction's own text stands as it was given, whatever its tokens decode to.

    Args:
        tokenizer: the tokenizer.
        instructions: the text that each program begins with.
        before: token ids of these texts, see :func:`instruction_ids`.
        rows: token ids of what follows, without padding.
    """
    starts = _decode(tokenizer, before)
    wholes = _decode(tokenizer, [[*ids, *row] for ids, row in zip(before, rows, strict=True)])
    return [text + whole[len(start) :] for text, start, whole in zip(instructions, starts, wholes, strict=True)]


def _decode(tokenizer: PreTrainedTokenizerBase, rows: Iterable[Sequence[int]]) -> list[str]:
    ids = [list(row) for row in rows]
    return tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
