"""What is damaged in a run's folder is one line when the run is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors

from distributed.errors import UserError
from distributed.results.run_folder import CONFIG, PROMPTS, open_run, read_config
from softprompt.models.frozen import FrozenLM
from tests.distributed.finished_runs import make_run


@pytest.fixture
def folder(tiny_lm: tuple[FrozenLM, Path], tmp_path: Path) -> Path:
    lm, base = tiny_lm
    return make_run(tmp_path / "run", base, lm)


@pytest.mark.parametrize("shape", [(2, 7), (100_000, 8)], ids=["other width", "more rows than positions"])
def test_prompts_that_the_language_model_cannot_read_are_named(folder: Path, shape: tuple[int, int]) -> None:
    names = list(load_file(folder / PROMPTS))
    save_file({name: np.ones(shape, np.float32) for name in names}, folder / PROMPTS)
    with pytest.raises(UserError, match=f"the prompt of .* has {shape[0]} rows of {shape[1]} numbers") as error:
        open_run(folder).load_base()
    assert "\n" not in str(error.value)


def test_prompts_of_a_type_that_numpy_lacks_are_one_line(folder: Path) -> None:
    names = list(load_file(folder / PROMPTS))
    save_tensors({name: torch.ones(2, 8, dtype=torch.bfloat16) for name in names}, folder / PROMPTS)
    with pytest.raises(UserError, match="cannot read .*prompts.safetensors"):
        open_run(folder)


def test_settings_without_their_sections_are_no_settings_of_a_run(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(json.dumps({}))
    with pytest.raises(UserError, match="it has no section 'method'"):
        read_config(tmp_path / CONFIG)
