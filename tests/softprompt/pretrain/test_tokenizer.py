"""What sampling and training rely on in the tokenizer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from softprompt.pretrain.tokenizer import train_tokenizer

INSTRUCTION = "import math\n"
BODY = (
    "def make_walker():\n    wc = walker_creator()\n    wc.add_joint({}, {})\n    for i in range({}):\n"
    "        wc.add_muscle(i, {}, False, {}, 0.5)\n    return wc.get_walker()\n"
)
PROGRAMS = [INSTRUCTION + BODY.format(k, 2.5 * k, k % 9, k + 1, k / 8) for k in range(200)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(PROGRAMS, 400, INSTRUCTION)


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text)["input_ids"]


def test_the_instructions_tokens_begin_every_program_whatever_follows(tokenizer):
    before = ids_of(tokenizer, INSTRUCTION)
    for rest in (*PROGRAMS[:5], "", "\n", "\n\n  x", "def", "1", "import math\n", "é"):
        whole = ids_of(tokenizer, INSTRUCTION + rest.removeprefix(INSTRUCTION))
        assert whole[: len(before)] == before


def test_digits_are_tokens_of_their_own_but_for_numbers_with_one_decimal(tokenizer):
    assert tokenizer.convert_ids_to_tokens(ids_of(tokenizer, "1207")) == ["1", "2", "0", "7"]
    assert tokenizer.convert_ids_to_tokens(ids_of(tokenizer, "2.5")) == ["2.5"]
    assert tokenizer.convert_ids_to_tokens(ids_of(tokenizer, "12.57")) == ["1", "2.5", "7"]
    # A rarer one may come in two parts, but no token holds two digits in a row, or a digit and the text beside it.
    with_digits = [token for token in tokenizer.get_vocab() if re.search(r"[0-9]", token)]
    assert all(re.fullmatch(r"[0-9]|[0-9]\.[0-9]|\.[0-9]|[0-9]\.", token) for token in with_digits)


def test_text_between_numbers_merges_over_spaces_and_line_ends(tokenizer):
    assert len(ids_of(tokenizer, PROGRAMS[7])) < 0.3 * len(PROGRAMS[7])
    assert any("\u010a" in token and "\u0120" in token for token in tokenizer.get_vocab())  # bytes of both in one


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back_as_it_went_in(tokenizer, text):
    assert tokenizer.decode(ids_of(tokenizer, text), skip_special_tokens=False) == text


def test_special_tokens_differ_and_are_left_out_of_text(tokenizer):
    special = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert len(set(special)) == 3 and None not in special
    assert not set(special) & set(ids_of(tokenizer, PROGRAMS[0]))
    ids = [special[1], *ids_of(tokenizer, PROGRAMS[0]), special[2], special[0]]
    assert tokenizer.decode(ids, skip_special_tokens=True) == PROGRAMS[0]


def test_a_saved_tokenizer_loads_equal(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    for program in (*PROGRAMS[:20], "x = 3.25 # é\n"):
        assert ids_of(loaded, program) == ids_of(tokenizer, program)
        assert loaded.decode(ids_of(loaded, program)) == program
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "padding_side", "clean_up_tokenization_spaces")
    assert [getattr(loaded, name) for name in names] == [getattr(tokenizer, name) for name in names]


def test_training_again_gives_the_same_tokenizer(tokenizer):
    again = train_tokenizer(PROGRAMS, 400, INSTRUCTION)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert len(tokenizer) <= 400
