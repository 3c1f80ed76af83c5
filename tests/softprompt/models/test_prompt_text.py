"""Instructions in token ids, and programs as whole texts."""

from __future__ import annotations

from softprompt.models.prompt_text import instruction_ids, program_texts


def test_an_instruction_has_no_end_token(llama, monkeypatch):
    text = "import math\n"
    plain = instruction_ids(llama, text)
    assert plain == tuple(llama.tokenizer(text)["input_ids"])
    given = llama.tokenizer
    monkeypatch.setattr(llama, "tokenizer", lambda text: {"input_ids": [*given(text)["input_ids"], given.eos_token_id]})
    monkeypatch.setattr(llama.tokenizer, "all_special_ids", given.all_special_ids, raising=False)
    assert instruction_ids(llama, text) == plain


def test_programs_keep_their_instruction_and_lose_special_tokens(llama):
    instructions, continuations = ["import math\n", " x = 1"], ["a = 2", " b"]
    before = [instruction_ids(llama, text) for text in instructions]
    rows = [[*llama.tokenizer(text)["input_ids"], llama.eos_id] for text in continuations]
    whole = program_texts(llama.tokenizer, instructions, before, rows)
    assert whole == [a + b for a, b in zip(instructions, continuations, strict=True)]
    shorter = program_texts(llama.tokenizer, ["#\n", "#\n"], before, rows)
    assert shorter == ["#\n" + text for text in continuations], "the instruction's own text is used as it was given"
