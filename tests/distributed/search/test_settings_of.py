"""The settings of an interrupted search, read back from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.config import RunConfig
from distributed.errors import UserError
from distributed.search.run import settings_of

DAMAGED = {
    "": "Expecting value: line 1 column 1 (char 0)",
    "[]": "it holds no object",
    "[" * 100_000: "maximum recursion depth exceeded",
    '{"train": 5}': "train: must be settings of its own",
}


@pytest.mark.parametrize(("text", "said"), DAMAGED.items(), ids=["empty", "list", "deep", "scalar"])
def test_damaged_settings_are_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError) as error:
        settings_of(tmp_path)
    assert said in str(error.value)
    assert str(tmp_path / "config.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_are_read_back_as_they_were(tmp_path: Path) -> None:
    config = RunConfig.model_validate({"search": {"members": 5, "space": {"optimizer.kwargs.lr": [0.1, 0.2]}}})
    (tmp_path / "config.json").write_text(config.model_dump_json(by_alias=True))
    assert settings_of(tmp_path) == config
