"""Invariants of Stage 2, on a model that is trained in a second."""

import pytest
import torch

from softprompt.model import FrozenLM
from softprompt.prefixes import PrefixConfig
from softprompt.pretrain import PretrainConfig, Stage2

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
    stage = Stage2(PROGRAMS, INSTRUCTION, TINY)
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
    program = stage.held_out[0]
    with torch.no_grad():
        logits = lm.model(torch.tensor([program])).logits[0].log_softmax(-1)
        nats = stage._nats([program], None).item()
    skip = stage.instruction_tokens
    expected = -sum(logits[i - 1, program[i]].item() for i in range(skip, len(program)))
    assert nats == pytest.approx(expected, rel=1e-4)
    assert program[-1] == lm.eos_id


def test_the_same_seed_trains_the_same_model():
    config = TINY.model_copy(update={"steps": 5})
    runs = []
    for _ in range(2):
        stage = Stage2(PROGRAMS, INSTRUCTION, config)
        list(stage.train())
        runs.append(stage.model.state_dict())
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])


def test_a_program_without_the_instruction_and_a_corpus_too_small_are_refused():
    with pytest.raises(ValueError, match="begin with the instruction"):
        Stage2([*PROGRAMS, "x = 1\n"], INSTRUCTION, TINY)
    with pytest.raises(ValueError, match="too few"):
        Stage2(PROGRAMS[:20], INSTRUCTION, TINY)


def test_programs_that_are_too_long_are_left_out_and_counted():
    long = f"{INSTRUCTION}x = {'+'.join(str(i % 10) for i in range(200))}\n"
    assert Stage2([*PROGRAMS, long], INSTRUCTION, TINY).left_out == 1
