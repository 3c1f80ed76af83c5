"""What the bundled language model must be able to do before any prompt is trained."""

import json

import numpy as np
import pytest

from distributed.config import BUNDLED_LM
from distributed.jobs.measure_model import is_walker, measure_untrained_prompts, sample_programs, tune_on_one
from softprompt.models.frozen import FrozenLM
from terrains.base import Attempt
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.world import SodaraceWorld, WorldConfig

INSTRUCTION = "import math\n"


@pytest.fixture(scope="module")
def lm():
    return FrozenLM.load(BUNDLED_LM)


@pytest.fixture(scope="module")
def world():
    world = SodaraceWorld(WorldConfig(seconds=2.0))
    yield world
    world.close()


def test_the_card_is_of_this_model(lm):
    card = json.loads((BUNDLED_LM / "card.json").read_text())
    assert card["hash"] == lm.hash
    assert card["parameters"] == sum(p.numel() for p in lm.model.parameters()) <= 3_000_000
    assert (BUNDLED_LM / "model.safetensors").stat().st_size < 10_000_000


def test_programs_are_valid_unique_and_short(lm, world):
    programs, lengths = sample_programs(lm, INSTRUCTION, 512, seed=11)
    scores = world.score([Attempt("flat", p) for p in programs])
    kinds = {s.failure for s in scores}
    assert np.mean([is_walker(s) for s in scores]) >= 0.88, kinds  # 91% of thousands of samples; 512 vary by 1.3%
    assert len(set(programs)) / len(programs) >= 0.9
    assert np.median(lengths) <= 100


def test_a_prompt_of_20_rows_brings_one_program_below_2_nats_within_150_steps(lm):
    program = sample_programs(lm, INSTRUCTION, 4, seed=12)[0][3]
    nats = tune_on_one(lm, INSTRUCTION, program, seed=0)
    assert nats["0"] > 10
    assert nats["150"] < 2


def test_the_tokenizer_round_trips_programs(lm):
    for program in SEEDS.values():
        assert lm.tokenizer.decode(lm.tokenizer(program)["input_ids"]) == program


@pytest.mark.slow
def test_untrained_prompts_of_every_size_and_start_leave_programs_valid(lm, world):
    shares = measure_untrained_prompts(lm, world, "flat", seed=3, count=128)
    every = [share for sizes in shares.values() for share in sizes.values()]
    assert np.mean(every) >= 0.85 and min(every) >= 0.75, shares  # the card says 85% at least; 128 vary by 3%
