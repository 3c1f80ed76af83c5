"""What docs/from_trlx.md says of each option of trlx's is what happens to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from distributed.config import TRLX_SECTIONS, RunConfig
from distributed.config.load import parse_config
from distributed.config.section import is_unused
from distributed.config.trlx_programs import PPO
from distributed.config.unsupported import untrainable

PAGE = Path(__file__).parents[1] / "docs" / "from_trlx.md"
ROWS = dict(re.findall(r"^\| `(\w+\.\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))
OTHERS = {
    "method": {"gen_experience_kwargs", "num_value_layers_unfrozen"},
    "model": {"model_arch_type", "peft_config", "model_extra_configs"},
    "tokenizer": {"padding_side", "tokenizer_extra_configs"},
    "train": {
        "minibatch_size",
        "trainer_kwargs",
        "project_name",
        "run_name",
        "entity_name",
        "group_name",
        "tags",
        "seed",
    }
    | {"checkpoint_dir", "rollout_logging_dir", "save_best", "save_optimizer", "resume_from_checkpoint"}
    | {"tracker", "logging_dir"},
}
"""Options of trlx's that its default configuration leaves at their defaults."""

REFUSED = {"method.num_value_layers_unfrozen": 2, "model.model_arch_type": "seq2seq"}


def field(name: str) -> tuple[Any, str]:
    section, key = name.split(".")
    return type(getattr(RunConfig(), section)), key


def test_every_option_of_trlx_has_a_row_and_every_setting_of_its_sections_too() -> None:
    theirs = {f"{section}.{key}" for section in PPO for key in {*PPO[section], *OTHERS.get(section, ())}}
    assert set(ROWS) == theirs
    ours = {f"{name}.{key}" for name in TRLX_SECTIONS for key in type(getattr(RunConfig(), name)).model_fields}
    assert theirs <= ours
    assert {name for name in ours - theirs if not name.startswith("method.")} == set()


@pytest.mark.parametrize("name", ROWS)
def test_what_is_said_of_an_option_is_so(name: str) -> None:
    section, key = field(name)
    assert ROWS[name] in ("same", "different", "ignored", "refused")
    assert (ROWS[name] == "ignored") == (is_unused(section, key) or name == "train.seq_length")
    assert (ROWS[name] == "refused") == (name in REFUSED)
    if name in REFUSED:
        config = parse_config({name.split(".")[0]: {key: REFUSED[name]}})
        assert any(each.startswith(f"{name}: ") for each in untrainable(config))
        assert list(untrainable(RunConfig())) == []
