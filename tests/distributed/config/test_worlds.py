"""What a registered model says of its world."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.config.load import parse_config
from distributed.config.worlds import world_metadata, world_of_metadata
from distributed.errors import UserError


def test_a_registered_model_has_no_passwords_and_says_which_one_is_missing(tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text("def ask(outputs, api_key=None, **rest): return [1.0 for _ in outputs]\n")
    reward = {"name": f"{tmp_path}/ask.py:ask", "api_key": "sk-1"}
    options = {"reward": reward, "terrains": {"a": {"instructions": ["x"]}}}
    config = parse_config({"terrains": {"world": "functions", "options": options}})
    said = world_metadata(config, tmp_path)
    assert "sk-1" not in str(said) and config.terrains.options == options
    with pytest.raises(UserError, match=r"^the model's world: terrains.options.reward.api_key was not registered"):
        world_of_metadata(said)
    del reward["api_key"]
    config = parse_config({"terrains": {"world": "functions", "options": options}})
    assert world_of_metadata(world_metadata(config, tmp_path)).terrain("a").instruction == "x"
