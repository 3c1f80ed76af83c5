"""Invariants of Stage 2, on a model that is trained in a second."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from softprompt.finite import NotFiniteError
from softprompt.models.frozen import FrozenLM
from softprompt.pretrain.config import PRESETS, PretrainConfig, preset
from softprompt.pretrain.prefixes import PrefixConfig
from softprompt.pretrain.trainer import Pretrainer
from tests.accuracy import assert_as_accurate, assert_both_accurate
from tests.softprompt.exact import Float64, doubled, one_by_one

pytestmark = pytest.mark.arithmetic

INSTRUCTION = "import math\n"
PROGRAMS = [
    f"{INSTRUCTION}def f():\n    return {a} + {b} * 0.{c}\n" for a in range(8) for b in range(8) for c in range(4)
]
TINY = PretrainConfig(
    hidden_size=64, layers=2, heads=4, intermediate_size=128, steps=300, batch_size=16, lr=1e-2,
    prefixes=PrefixConfig(slots=4, visits=10, max_rows=8, none=0.1),
)  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    stage = Pretrainer(PROGRAMS, INSTRUCTION, TINY)
    before = stage.held_out_loss()
    losses = [m["loss"] for m in stage.train()]
    return stage, before, losses


def test_training_lowers_the_held_out_loss(trained):
    stage, before, losses = trained
    assert len(losses) == 300
    assert stage.held_out_loss() < 0.5 * before


def test_a_tuned_prompt_lowers_the_cost_of_held_out_programs(trained):
    stage, _, _ = trained
    untuned, tuned = stage.held_out_steered((0, 150), rows=8)
    assert tuned < 0.93 * untuned


def test_measuring_does_not_touch_the_model(trained):
    stage, _, _ = trained
    before = {k: v.clone() for k, v in stage.model.state_dict().items()}
    stage.held_out_steered((0, 2), rows=4)
    assert all(torch.equal(before[k], v) for k, v in stage.model.state_dict().items())
    assert all(p.grad is None or not p.grad.any() for p in stage.model.parameters())


def test_held_out_programs_are_not_trained_on(trained):
    stage, _, _ = trained
    assert not {tuple(p) for p in stage.held_out} & {tuple(p) for p in stage.training}
    assert len(stage.held_out) + len(stage.training) + stage.left_out == len(PROGRAMS)


def test_the_loss_without_prefix_is_the_likelihood_of_the_saved_model(trained, tmp_path):
    stage, _, _ = trained
    stage.save(tmp_path)
    lm = FrozenLM.load(tmp_path)
    programs, skip = stage.held_out[:12], stage.instruction_tokens
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(p[skip:]) for p in programs], batch_first=True)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(p) - skip for p in programs])[:, None]
    asked = None, [p[:skip] for p in programs], ids, mask
    with torch.no_grad():
        nats = stage._nats(programs, None)
        theirs, exact = (-one_by_one(of, *asked)[0].sum(1) for of in (lm, doubled(lm)))
    # A likely token's cost is the small rest of logits of 10 to 20, whose roundings thirty tokens add up.
    assert_as_accurate(nats, theirs, exact, ulps=64)
    assert all(p[-1] == lm.eos_id for p in programs)


def test_the_same_seed_trains_the_same_model():
    config = TINY.model_copy(update={"steps": 5})
    runs = []
    for _ in range(2):
        stage = Pretrainer(PROGRAMS, INSTRUCTION, config)
        list(stage.train())
        runs.append(stage.model.state_dict())
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])


def test_a_program_without_the_instruction_and_a_corpus_too_small_are_refused():
    with pytest.raises(ValueError, match="begin with the instruction"):
        Pretrainer([*PROGRAMS, "x = 1\n"], INSTRUCTION, TINY)
    with pytest.raises(ValueError, match="too few"):
        Pretrainer(PROGRAMS[:20], INSTRUCTION, TINY)


def test_programs_that_are_too_long_are_left_out_and_counted():
    long = f"{INSTRUCTION}x = {'+'.join(str(i % 10) for i in range(200))}\n"
    assert Pretrainer([*PROGRAMS, long], INSTRUCTION, TINY).left_out == 1


def test_a_training_goes_on_bit_for_bit():
    config = TINY.model_copy(update={"steps": 24})
    whole, first, second = (Pretrainer(PROGRAMS, INSTRUCTION, config) for _ in range(3))
    losses = [m["loss"] for m in whole.train()]
    for m in first.train():
        if m["step"] == 17:
            break
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert [m["loss"] for m in second.train()] == losses[17:]
    theirs = second.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.model.state_dict().items())


@pytest.mark.parametrize("none", [0.0, 1.0])
def test_parts_of_a_batch_add_up_to_its_gradient(none):
    def gradients(parts, exact=False):
        config = TINY.model_copy(
            update={"accumulate": parts, "prefixes": TINY.prefixes.model_copy(update={"none": none, "untrained": 0.0})}
        )
        stage = Pretrainer(PROGRAMS, INSTRUCTION, config)
        programs, slot = stage._prefixes.next(stage._order)
        if exact:
            stage.model.double()
            if slot is not None:
                slot.rows = slot.rows.detach().double().requires_grad_()
            with Float64():
                stage._backward(programs, slot)
        else:
            stage._backward(programs, slot)
        return [p.grad for p in stage.model.parameters()] + ([] if slot is None else [slot.rows.grad])

    for whole, added, exact in zip(gradients(1), gradients(3), gradients(1, exact=True), strict=True):
        assert_both_accurate(added, whole, exact)


def test_bfloat16_leaves_weights_in_float32_and_learns():
    stage = Pretrainer(PROGRAMS, INSTRUCTION, TINY.model_copy(update={"steps": 40, "bfloat16": True}))
    losses = [m["loss"] for m in stage.train()]
    assert losses[-1] < 0.5 * losses[0]
    assert {p.dtype for p in stage.model.parameters()} == {torch.float32}


def test_presets_have_the_sizes_they_are_told_to_have():
    for name, millions in {"tiny": 1.9, "small": 11, "base": 85}.items():
        settings = preset(name)
        with torch.device("meta"):
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=681, hidden_size=settings.hidden_size, num_hidden_layers=settings.layers,
                    num_attention_heads=settings.heads, intermediate_size=settings.intermediate_size,
                    tie_word_embeddings=True,
                )
            )  # fmt: skip
        assert model.num_parameters() / 1e6 == pytest.approx(millions, rel=0.03)
        assert settings.preset == name
    assert preset("base", steps=3).steps == 3 and set(PRESETS) == {"tiny", "small", "base"}


HINTED = TINY.model_copy(update={"steps": 16, "prefixes": TINY.prefixes.model_copy(update={"hinted": 0.5})})


def test_a_training_with_hints_goes_on_bit_for_bit():
    hints = [f"sum {k}" if k % 5 else None for k in range(len(PROGRAMS))]
    whole, first, second = (Pretrainer(PROGRAMS, INSTRUCTION, HINTED, hints=hints) for _ in range(3))
    losses = [m["loss"] for m in whole.train()]
    for m in first.train():
        if m["step"] == 7:
            break
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert [m["loss"] for m in second.train()] == losses[7:]
    other = Pretrainer(PROGRAMS, INSTRUCTION, HINTED, hints=list(reversed(hints)))
    assert [m["loss"] for m in other.train()] != losses


def test_hints_that_are_not_asked_for_change_nothing():
    config = TINY.model_copy(update={"steps": 6})
    losses = [
        [m["loss"] for m in Pretrainer(PROGRAMS, INSTRUCTION, config, hints=hints).train()]
        for hints in (None, PROGRAMS)
    ]
    assert losses[0] == losses[1]


def test_no_hint_is_a_held_out_program_and_each_goes_with_its_own_program():
    stage = Pretrainer(PROGRAMS, INSTRUCTION, HINTED, hints=[*PROGRAMS[1:], PROGRAMS[0]])
    end, head = stage.tokenizer.eos_token_id, stage.instruction_tokens
    after = dict(zip(map(tuple, stage.encode(PROGRAMS)), stage.encode([*PROGRAMS[1:], PROGRAMS[0]]), strict=True))
    held_out = {tuple(p) for p in stage.held_out}
    hinted = {tuple(p) for p in stage.training if tuple(after[tuple(p)]) not in held_out}
    assert set(stage._hints) == hinted and len(hinted) < len(stage.training)
    assert all([*stage.training[0][:head], *hint, end] == after[program] for program, hint in stage._hints.items())


def test_hints_that_are_missing_or_too_few_are_refused():
    with pytest.raises(ValueError, match="hinted 0.5 needs hints"):
        Pretrainer(PROGRAMS, INSTRUCTION, HINTED)
    with pytest.raises(ValueError, match="3 hints for 256 programs"):
        Pretrainer(PROGRAMS, INSTRUCTION, HINTED, hints=["a", "b", "c"])


def test_a_loss_that_is_no_number_ends_the_training_and_moves_nothing():
    stage = Pretrainer(PROGRAMS, INSTRUCTION, TINY)
    next(stage.train())
    with torch.no_grad():
        stage.model.get_input_embeddings().weight[:, 0] = torch.nan
    before = stage.model.lm_head.weight.clone()
    with pytest.raises(NotFiniteError, match=r"step 2 of 300: the loss or its gradient is not finite"):
        next(stage.train())
    assert torch.equal(stage.model.lm_head.weight.nan_to_num(), before.nan_to_num())
