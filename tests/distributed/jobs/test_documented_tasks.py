"""The world and the reward function of the documentation, by the commands that Sodarace has: search, export, serve."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pandas as pd
import pytest

from distributed.export.registry import model_uri
from distributed.results.run_folder import open_run
from tests.distributed.docs import documented
from tests.distributed.finished_runs import main_exit
from tests.distributed.jobs.test_new_world import FAST
from tests.distributed.pages import Page
from tests.distributed.servers import answered, served

PAGES = pytest.mark.parametrize("page", ["worlds.md", "rewards.md"])
SEARCH = [
    "train.total_steps=2", "search.members=2", "search.interval=1", "search.evaluation_samples=2",
    "search.stored_programs=2", "search.distill_steps=2", "search.space={method.n_soft_tokens: [2, 3]}",
    "rollouts.workers=1", "rollouts.cpus_per_worker=0.5", "train.batch_size=4",
]  # fmt: skip
ASKED = {"instruction": ["import math\n"] * 2}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> Path:
    """The folder of a page's letters.py and letters.yml; the current one is another."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return documented(page, tmp_path / "files").parent


def lose(files: Path) -> None:
    for each in files.iterdir():
        each.unlink()


def predicted(terrain: str) -> list[str]:
    model = mlflow.pyfunc.load_model(model_uri(terrain))
    return list(model.predict(pd.DataFrame(ASKED), params={"seed": 8})["program"])


@PAGES
def test_it_is_trained_exported_and_served_where_its_files_are_not(
    files: Path, store: str, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_exit("train", "--config", str(files / "letters.yml"), f"model.model_path={tiny_lm[1]}", *FAST) == 0
    lose(files)
    assert main_exit("export", "runs/letters") == 0
    assert all(text.startswith("import math\n") for text in predicted("e") + predicted("t"))
    capsys.readouterr()
    assert main_exit("write", "--terrain", "e", "--seed", "1") == 0
    by_model = capsys.readouterr()
    assert main_exit("write", "--terrain", "e", "--seed", "1", "--from", "runs/letters") == 0
    by_run = capsys.readouterr()
    assert by_model.err == by_run.err and "fitness" in by_run.err


@pytest.mark.slow
@pytest.mark.timeout(900)
@PAGES
def test_two_members_search_and_the_best_is_exported_and_served(
    files: Path, tmp_path: Path, store: str, tiny_lm, local_ray
) -> None:
    settings = [each for each in FAST if not each.startswith(("ray.", "train.total_steps"))]
    search = [*settings, *SEARCH, f"model.model_path={tiny_lm[1]}"]
    assert main_exit("search", "--config", str(files / "letters.yml"), *search) == 0
    folder = Path("runs/letters")
    lose(files)
    run = open_run(folder)
    assert list(run.prompts) == ["e", "t"]
    assert "table" in Page((run.path / "report.html").read_text()).tags
    assert main_exit("replay", str(folder), "--out", "shown") == 0
    assert main_exit("export", str(folder)) == 0
    assert main_exit("write", "--terrain", "e", "--from", str(folder)) == 0
    with served(model_uri("t"), tmp_path) as address:
        answer = answered(address, {"inputs": ASKED, "params": {"seed": 8}})
    assert answer == predicted("t")


@pytest.mark.slow
@pytest.mark.timeout(600)
@PAGES
def test_it_is_learnt_as_it_is_written_there(files: Path, page: str) -> None:
    settings = ["ray.enabled=false", "train.tracker=null", "evaluation.samples_per_terrain=64"]
    assert main_exit("train", "--config", str(files / "letters.yml"), *settings) == 0
    terrains = open_run("runs/letters").summary.terrains
    # The reward's other terrain is evaluated behind an instruction that it was not trained behind.
    for name in ("e", "t") if page == "worlds.md" else ("e",):
        row = terrains[name]
        assert row.untuned_interval is not None
        assert row.tuned_interval[0] > row.untuned_interval[1], name
    assert terrains["e"].ratio is not None and terrains["e"].ratio > 1.15


@pytest.mark.parametrize("page", ["worlds.md"])
def test_a_section_search_is_for_a_search_and_training_says_that_it_takes_no_notice(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = files / "letters.yml"
    nowhere = ["model.model_path=nowhere", *FAST]
    said = []
    for more in ("", "search:\n  members: 3\n"):
        settings.write_text(settings.read_text() + more)
        assert main_exit("train", "--config", str(settings), *nowhere) == 2
        said.append([line for line in caplog.messages if "section search" in line])
    assert said[0] == [] and len(said[1]) == 1
    assert f"{settings}: the section search is for `terraprompt search`" in said[1][0]
