"""The tokenizer of a language model that writes programs: numbers apart, everything between them merged.

Numbers are what makes one walker differ from the next, so each digit is a token of its own, and so is each number
with one decimal, such as 0.5; the text between them is boilerplate and merges freely, over spaces and line ends. A
program becomes short, and its tokens are mostly the choices that matter.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


def train_tokenizer(programs: Iterable[str], vocab_size: int, instruction: str) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer on programs.

    Args:
        programs: the corpus.
        vocab_size: tokens in all, the 256 bytes and three special tokens included.
        instruction: the text every program begins with. It is kept apart from what follows, so that the tokens of the
            instruction are
            always a prefix of the tokens of the program.

    Returns:
        A tokenizer that transformers loads from its own files.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(instruction, "isolated"),
            pre_tokenizers.Split(Regex(r"[0-9]\.[0-9]|[0-9]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(t, special=True) for t in (PAD, BOS, EOS)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(programs, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
