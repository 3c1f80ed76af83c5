"""The code of docs/python.md, run from its first block to its last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terraprompt import load_run
from tests.distributed.docs import blocks
from tests.terraprompt.conftest import disconnect

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[dict[str, Any]]:
    """What the page's code has made, in a folder of its own, where the runs are recorded too."""
    folder, found = tmp_path_factory.mktemp("docs"), {"__name__": "docs"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        disconnect(patch)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty_store}")
        for number, code in enumerate(blocks("python.md", "python"), 1):
            exec(compile(code, f"docs/python.md, block {number}", "exec"), found)
        yield found


def test_a_closure_is_learnt_from(names: dict[str, Any]) -> None:
    run = names["run"]
    row = run.summary.terrains["task"]
    assert row.untuned_interval[1] < row.tuned_interval[0]
    assert run.stats["reward/mean"][-1] > run.stats["reward/mean"][0]
    assert len(run.stats["reward/mean"]) == 6 and run.prompts["task"].shape == (8, 192)
    assert not run.config.ray.enabled and run.config.train.tracker == "mlflow"


def test_what_the_page_says_of_a_run_is_so(names: dict[str, Any]) -> None:
    run = names["run"]
    assert (run.directory.parent.parent / "my_prompt" / "adapter_config.json").is_file()
    again = load_run(os.fspath(run.directory))  # which has gone on since
    assert len(again.stats["reward/mean"]) == 8 and again.directory == run.directory == names["longer"].directory


def test_metadata_reach_the_functions_and_each_terrain_has_its_own_prompt(names: dict[str, Any]) -> None:
    both = names["both"]
    assert list(both.prompts) == both.terrains == ["e", "t"] and both.config.method.num_rollouts == 64
    [evaluation] = [entry for entry in both.history if entry["phase"] == "evaluation"]
    assert evaluation["metrics/characters/t"] > 0 and evaluation["metrics/characters"] > 0
    untuned = both.summary.terrains
    assert untuned["e"].untuned_mean > 0 and untuned["t"].untuned_mean > 0
