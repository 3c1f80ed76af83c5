"""Instructions that are a user's turn, written by the template of the tokenizer."""

from __future__ import annotations

import pytest
import torch

from softprompt.models.chat import DATE, Chat, ChatError, make_chat
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids, program_texts
from softprompt.models.unfrozen import UnfrozenLM, top_layers
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from tests.softprompt.talking import TEMPLATE, talking_lm

SAID = "return 12"


def text_of(lm: FrozenLM, instruction: str = SAID) -> str:
    return lm.tokenizer.decode(instruction_ids(lm, instruction))


def test_an_instruction_is_the_users_turn_behind_one_start_token(tokenizer):
    lm = talking_lm(tokenizer, Chat())
    assert text_of(lm) == f"<bos><|user|>{SAID}<|end|><|assistant|>"
    assert instruction_ids(lm, SAID).count(lm.tokenizer.bos_token_id) == 1
    with_system = talking_lm(tokenizer, Chat("import math"))
    assert text_of(with_system) == f"<bos><|system|>import math<|end|><|user|>{SAID}<|end|><|assistant|>"


def test_without_a_conversation_an_instruction_is_the_text_it_was(tokenizer):
    lm = talking_lm(tokenizer, None)
    assert text_of(lm) == f"<bos>{SAID}" and make_chat(False, None) is None
    assert lm.eos_ids == (lm.tokenizer.eos_token_id,)


def test_the_end_of_a_turn_ends_a_program(tokenizer):
    lm = talking_lm(tokenizer, Chat())
    end = lm.tokenizer.convert_tokens_to_ids("<|end|>")
    assert lm.eos_ids == (lm.tokenizer.eos_token_id, end)
    with torch.no_grad():  # which this model then says at once
        lm.model.lm_head.weight[end] *= 30
    samples = Sampler(lm, GenerationConfig(max_new_tokens=40)).sample(
        None, [SampleRequest(0, instruction_ids(lm, SAID), 16, 1)]
    )
    lengths = samples.mask.sum(1)
    last = samples.ids.gather(1, lengths[:, None] - 1)[:, 0]
    assert (last == end).sum() > 2 and (samples.ids == end).sum() == (last == end).sum()


@pytest.mark.parametrize(
    ("behind", "end"),
    [("<|end|>\\n<eos>", "<|end|>"), (" <eos>", "<eos>"), ("\\n\\n### Human:", None), ("", None)],
)
def test_what_ends_a_turn_is_found_by_writing_one(tokenizer, behind, end):
    template = "{% for message in messages %}{{ message.content + '" + behind + "' }}{% endfor %}"
    lm = talking_lm(tokenizer, Chat(), template)
    found = Chat().end_of_turn(lm.tokenizer)
    assert (None if found is None else lm.tokenizer.convert_ids_to_tokens(found)) == end


def test_a_model_without_a_template_says_so_in_one_line(tokenizer):
    with pytest.raises(ChatError, match="tokenizer has no chat template; leave it off") as error:
        talking_lm(tokenizer, Chat(), None)
    assert "\n" not in str(error.value)


def test_a_template_that_takes_no_systems_turn_says_so_in_one_line(tokenizer):
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + TEMPLATE
    with pytest.raises(ChatError, match="does not take a system's turn: no system here"):
        talking_lm(tokenizer, Chat("be brief"), refusing)
    assert text_of(talking_lm(tokenizer, Chat(), refusing)).startswith("<bos><|user|>")


WRITES = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ 1 + 'a' }}", "does not take a system's turn: unsupported operand"),
        ("{{ 1 / 0 }}", "does not take a system's turn: division by zero"),
        ("{% for i in range(10**9) %}{% endfor %}", "does not take a system's turn: Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "does not take a system's turn: maximum recursion"),
        ("{% include '/etc/passwd' %}", "does not take a system's turn: no loader"),
        ("{{ raise_exception('one\ntwo') }}", "does not take a system's turn: one$"),
        ("{{ messages", "does not take a system's turn: unexpected end of template"),
        (5, "does not take a system's turn: can only concatenate str"),
        ("hello", "leaves out the system's turn"),
        ("{{ messages[0].content }}", "leaves out the user's turn"),
        ("{{ messages[-1].content }}", "leaves out the system's turn"),
        (WRITES + "{{ range(1000000000000) | random }}", "does not take a system's turn: Range too big"),
        (WRITES + "{{ range(100000) | random }}{{ range(100000) | random }}", "writes something else each time"),
    ],
)
def test_a_template_that_fails_or_loses_a_turn_is_one_line(tokenizer, template, said):
    with pytest.raises(ChatError, match=said) as error:
        talking_lm(tokenizer, Chat("be brief"), template)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "reads",
    [
        "''.__class__.__mro__[1].__subclasses__()",
        "cycler.__init__.__globals__.os.popen('id').read()",
        "raise_exception.__globals__.keys()",
        "lipsum.__globals__['os'].getcwd()",
        "(messages | attr('__class__')).__mro__",
        "'{0.__class__.__mro__}'.format(messages)",
        "strftime_now.__init__.__globals__",
        "messages.append(messages[0])",
        "messages[0].update({'content': 'else'})",
    ],
)
def test_a_template_reaches_nothing_but_the_conversation(tokenizer, reads):
    with pytest.raises(ChatError, match="unsafe|undefined|has no attribute"):
        talking_lm(tokenizer, Chat(), WRITES + "{{ " + reads + " }}")


def test_a_template_that_writes_the_date_writes_the_same_every_day(tokenizer):
    dated = "{% set today = strftime_now('%d %B %Y') %}{{ today }}" + TEMPLATE
    lm = talking_lm(tokenizer, Chat(), dated)
    assert text_of(lm) == f"{DATE}<bos><|user|>{SAID}<|end|><|assistant|>"


def test_a_program_is_the_instruction_and_the_answer_without_the_turns_around_them(tokenizer):
    lm = talking_lm(tokenizer, Chat("import math"))
    rows = [[*lm.tokenizer("def f", add_special_tokens=False)["input_ids"], lm.eos_ids[-1]]]
    assert program_texts(lm.tokenizer, [SAID], [instruction_ids(lm, SAID)], rows) == [f"{SAID}def f"]


def test_other_processes_and_trained_copies_talk_to_it_alike(tokenizer):
    lm = talking_lm(tokenizer, Chat("import math"))
    for copied in (FrozenLM.from_weights(**lm.export()), UnfrozenLM(lm, top_layers(lm.model, 1))):
        assert copied.eos_ids == lm.eos_ids and instruction_ids(copied, SAID) == instruction_ids(lm, SAID)


def test_a_loaded_model_talks_as_it_is_told_to(tokenizer, tmp_path):
    lm = talking_lm(tokenizer, Chat())
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    assert instruction_ids(FrozenLM.load(tmp_path, chat=Chat()), SAID) == instruction_ids(lm, SAID)
    assert text_of(FrozenLM.load(tmp_path)) == f"<bos>{SAID}"


def test_a_template_whose_tokens_the_model_has_no_rows_for_is_one_line(tokenizer, llama):
    lm = FrozenLM(llama.model, talking_lm(tokenizer, None).tokenizer, chat=Chat())
    assert lm.eos_ids == llama.eos_ids
    with pytest.raises(ChatError, match=r"writes '<\|user\|>', and the language model has no row for it"):
        instruction_ids(lm, SAID)


def test_of_several_templates_one_has_to_be_the_usual_one(tokenizer):
    with pytest.raises(ChatError, match="does not take such a conversation: .*multiple chat templates") as error:
        talking_lm(tokenizer, Chat(), {"rag": TEMPLATE, "tool_use": TEMPLATE})
    assert "\n" not in str(error.value)
    assert text_of(talking_lm(tokenizer, Chat(), {"default": TEMPLATE, "rag": ""})).startswith("<bos><|user|>")
