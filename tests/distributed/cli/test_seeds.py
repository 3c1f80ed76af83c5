"""Any seed that fits a generator will do, the time in nanoseconds among them; others are refused in one line."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pydantic import ValidationError

from distributed.cli import main
from distributed.config.section import LARGEST_SEED
from distributed.errors import UserError
from softprompt.pretrain.config import PretrainConfig
from tests.distributed.tiny_runs import config, finish, loop_of


@pytest.mark.parametrize("seed", [time.time_ns(), LARGEST_SEED], ids=["time_ns", "largest"])
@pytest.mark.parametrize("estimator", ["rloo", "gae", "es"])
def test_a_run_takes_large_seeds(tiny_lm, seed, estimator):
    kind = {"method__estimator": estimator, "method__es_pairs": 1, "train__seed": seed}
    loop = finish(loop_of(config(**kind, train__total_steps=1, warm_start__steps=1), tiny_lm[0]))
    assert np.isfinite(loop.prompts).all() and loop.step == 1


@pytest.mark.parametrize("seed", [LARGEST_SEED + 1, -1])
def test_a_seed_that_no_generator_takes_is_one_line(seed):
    with pytest.raises(UserError, match="train.seed") as error:
        config(train__seed=seed)
    assert "\n" not in str(error.value)
    with pytest.raises(ValidationError):
        PretrainConfig(seed=seed)


@pytest.mark.parametrize(
    "command", [["write", "--terrain", "flat"], ["corpus"], ["pretrain"]], ids=lambda command: command[0]
)
def test_commands_refuse_such_a_seed_before_they_work(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, "--seed", str(2**64)])
    assert end.value.code == 2 and "--seed" in capsys.readouterr().err
