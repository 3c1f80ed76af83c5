"""Where a run goes on: what is no checkpoint of a training run is told apart from one that is."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from distributed.checkpoint.manager import save_checkpoint
from distributed.config import RunConfig
from distributed.errors import UserError
from distributed.training.resume import find_start

LOOP = {"step": 1, "stage": "steps", "tuned": {}, "history": []}


def run_of(state: Any, directory: Path) -> Path:
    """A run whose only checkpoint holds this state."""
    save_checkpoint(directory, 1, state)
    (directory / "config.json").write_text(RunConfig().model_dump_json(by_alias=True))
    return directory


@pytest.mark.parametrize(
    "state",
    [
        5,
        {"loop": 5, "run": {}},
        {"loop": {}, "run": {}},
        {"loop": LOOP, "run": 5},
        {"loop": {**LOOP, "stage": "cooking"}, "run": {}},
        {"loop": {**LOOP, "step": "1"}, "run": {}},
    ],
)
def test_another_kind_of_checkpoint_is_named_as_that(state: Any, tmp_path: Path) -> None:
    with ExitStack() as held, pytest.raises(UserError, match="checkpoint_000001' is no checkpoint of a training run"):
        find_start(run_of(state, tmp_path), held)


def test_one_of_a_training_run_is_taken(tmp_path: Path) -> None:
    with ExitStack() as held:
        start = find_start(run_of({"loop": LOOP, "run": {}}, tmp_path), held)
    assert start.saved.step == 1
    assert not start.is_branch
