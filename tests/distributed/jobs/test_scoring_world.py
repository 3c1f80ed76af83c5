"""``replay`` and ``write`` of programs that no run keeps, by the world that an option names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from distributed.checkpoint.manager import load_checkpoint
from distributed.config.load import load_config
from distributed.config.worlds import make_world
from distributed.jobs.scoring_world import attempt_of
from distributed.results.run_folder import open_run
from terrains.base import Instruction, Terrain
from tests.distributed.docs import documented
from tests.distributed.finished_runs import main_exit
from tests.distributed.jobs.test_new_world import FAST

HALF = "import math\nex"
DENSE = """
def reward_fn(outputs, output_ids, tokenizer, **rest):
    assert all(tokenizer.decode(ids) for ids in output_ids)
    return [[1.0] * len(ids) for ids in output_ids]
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text whose output is half of it the letter e, beside the files of no page."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.txt").write_text(HALF)
    return Path("half.txt")


def said_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert main_exit(*arguments) == 0
    return capsys.readouterr().err.splitlines()


def test_a_file_is_scored_by_a_world_by_a_configuration_and_by_a_runs_world(
    program: Path, tmp_path: Path, store: str, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    documented("worlds.md", tmp_path / "worlds")
    by_world = said_by(
        capsys, "replay", "half.txt", "--world", "worlds/letters.py:Letters", "--terrain", "e", "--out", "a"
    )
    assert by_world[0] == "half.txt on e: fitness 50.0" and Path("a/replay.html").exists()
    # Without --terrain all that the world lists.
    said = said_by(capsys, "replay", "half.txt", "--config", "worlds/letters.yml", "--out", "b")
    assert said[:2] == ["half.txt on e: fitness 50.0", "half.txt on t: fitness 0.0"]
    documented("rewards.md", tmp_path / "rewards")
    said = said_by(capsys, "replay", "half.txt", "--config", "rewards/letters.yml", "--terrain", "e", "--out", "c")
    assert said[0] == "half.txt on e: fitness 50.0"
    settings = [f"model.model_path={tiny_lm[1]}", *FAST]
    assert main_exit("train", "--config", "rewards/letters.yml", *settings) == 0
    shutil.rmtree("rewards")
    said = said_by(capsys, "replay", "half.txt", "--run", "runs/letters", "--terrain", "e", "--out", "d")
    assert said[0] == "half.txt on e: fitness 50.0"
    # Beside a run's own programs a file goes onto the run's terrains.
    said = said_by(capsys, "replay", "runs/letters", "half.txt", "--out", "e")
    assert "half.txt on e: fitness 50.0" in said and "half.txt on t: fitness 0.0" in said


def test_a_registered_model_whose_world_is_gone_writes_and_another_world_scores(
    program: Path, tmp_path: Path, store: str, tiny_lm, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    documented("worlds.md", tmp_path)
    package = tmp_path / "packages" / "letter_worlds_for_tests"
    package.mkdir(parents=True)
    shutil.copy("letters.py", package / "__init__.py")
    monkeypatch.syspath_prepend(package.parent)
    module = "terrains.world=letter_worlds_for_tests:Letters"
    assert main_exit("train", "--config", "letters.yml", module, f"model.model_path={tiny_lm[1]}", *FAST) == 0
    assert main_exit("export", "runs/letters") == 0
    scored = said_by(capsys, "write", "--terrain", "e")
    shutil.rmtree(package)
    monkeypatch.delitem(__import__("sys").modules, "letter_worlds_for_tests")
    capsys.readouterr()
    assert main_exit("write", "--terrain", "e") == 0
    out, err = capsys.readouterr()
    assert out.startswith("import math\n")
    assert err.startswith("not scored: the model's world: there is no module 'letter_worlds_for_tests'")
    assert main_exit("write", "--terrain", "t", "--from", "models:/softprompt.e@champion") == 2
    assert "there is no module" in capsys.readouterr().err
    assert said_by(capsys, "write", "--terrain", "e", "--world", "letters.py:Letters") == scored


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["half.txt", "--world", "leters.py:Letters"], "--world: leters.py: no such file; did you mean letters.py?"),
        (["half.txt", "--world", "letters.py:Leters"], "--world: letters.py has no 'Leters'; did you mean Letters?"),
        (["half.txt", "--world", "functions"], "--config FILE brings such settings along"),
        (["half.txt", "--world", "letters.py:Letters", "--config", "letters.yml"], "--world and --config each name"),
        (["half.txt", "--world", "letters.py:Letters", "--terrain", "long"], "there is no terrain 'long'"),
        (["half.txt", "--config", "leters.yml"], "did you mean letters.yml?"),
        (["half.txt", "--run", "runs/none"], "there is no run"),
    ],
)
def test_a_mistake_is_one_line(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    documented("worlds.md", tmp_path)
    assert main_exit("replay", *options) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line and not Path("replay").exists()


def test_a_text_is_written_behind_the_longest_instruction_that_it_begins_with() -> None:
    texts = ("import ", "import math\n", "def ")
    terrain = Terrain("e", instructions=tuple(map(Instruction, texts[:2])), eval_instructions=(Instruction(texts[2]),))
    found = [attempt_of(terrain, text).instruction for text in ("import x", "import math\nx", "def f", "class")]
    assert found == [0, 1, 2, 0]


def test_a_replay_of_a_run_knows_its_instructions_and_hands_over_the_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    documented("rewards.md", tmp_path)
    Path("letters.py").write_text(DENSE)
    assert main_exit("train", "--config", "letters.yml", f"model.model_path={tiny_lm[1]}", *FAST) == 0
    said = said_by(capsys, "replay", "runs/letters", "--terrain", "t", "--out", "shown")
    newest = max(Path("runs/letters").glob("checkpoint*"))
    programs = load_checkpoint(newest).state["loop"]["tuned"]["t"]["programs"]
    assert any(text.startswith("import random\n") for text in programs)
    tokenizer = tiny_lm[0].tokenizer
    lengths = {len(tokenizer(text.removeprefix("import random\n"))["input_ids"]) for text in programs}
    shown = [float(found) for found in re.findall(r"tuned on t: fitness (\S+)$", "\n".join(said), re.MULTILINE)]
    assert shown and set(shown) <= lengths


def test_the_kept_files_are_an_artifact_and_the_prompts_server_never_opens_it(
    program: Path, tmp_path: Path, store: str, tiny_lm
) -> None:
    import mlflow
    import pandas as pd

    documented("rewards.md", tmp_path)
    assert main_exit("train", "--config", "letters.yml", f"model.model_path={tiny_lm[1]}", *FAST) == 0
    assert main_exit("export", "runs/letters") == 0
    folder = Path(mlflow.artifacts.download_artifacts("models:/softprompt.t@champion"))
    kept = json.loads((folder / "artifacts" / "world.json").read_text())
    assert kept == json.loads(Path("runs/letters/world.json").read_text())
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "artifacts" / "world.json").write_text("no JSON")
    frame = pd.DataFrame({"instruction": ["import math\n"]})
    texts = [list(mlflow.pyfunc.load_model(str(each)).predict(frame)["program"]) for each in (folder, copy)]
    assert texts[0] == texts[1]
    world = make_world(load_config("letters.yml"))
    assert open_run("runs/letters").make_world().terrain("e") == world.terrain("e")
