"""Worlds of installed packages, by their entry points, and worlds whose terrains are drawn from families."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.config.load import load_config
from distributed.config.worlds import make_world, names_of
from distributed.errors import UserError
from distributed.results.run_folder import open_run
from tests.distributed.docs import documented
from tests.distributed.finished_runs import main_exit
from tests.distributed.jobs.test_documented_tasks import SEARCH
from tests.distributed.jobs.test_new_world import FAST

SAMPLES = '''
    @staticmethod
    def sample_terrains(families, count, difficulty, split, seed):
        """Letters of the alphabet's first half for training, and of the second for what is held out."""
        if unknown := set(families) - {"letters"}:
            raise ValueError(f"there is no family {unknown.pop()!r}")
        half = "abcdefghijklm" if split == "train" else "nopqrstuvwxyz"
        return [half[(seed + k) % 13] for k in range(count)]

    def close'''
SAMPLED = ["terrains.names=[]", "terrains.sample.families=[letters]", "terrains.sample.count=2"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The documented world, which also draws terrains."""
    monkeypatch.chdir(tmp_path)
    documented("worlds.md", tmp_path)
    file = tmp_path / "letters.py"
    file.write_text(file.read_text().replace("\n    def close", SAMPLES, 1))
    return file


def train(base: Path, *settings: str) -> int:
    return main_exit("train", "--config", "letters.yml", f"model.model_path={base}", *FAST, *settings)


def test_drawn_terrains_are_trained_exported_and_resumed_without_the_file(world: Path, store: str, tiny_lm) -> None:
    assert train(tiny_lm[1], *SAMPLED, "terrains.sample.split=held_out", "terrains.sample.seed=3") == 0
    world.unlink()
    run = open_run("runs/letters")
    assert list(run.prompts) == ["q", "r"] and run.config.terrains.names == ()
    assert main_exit("export", "runs/letters", "--terrain", "q") == 0
    assert main_exit("write", "--terrain", "q") == 0
    assert main_exit("train", "--resume", "runs/letters", "train.total_steps=2") == 0
    assert list(open_run("runs/letters").prompts) == ["q", "r"]


def test_train_and_held_out_share_nothing_and_names_come_first(world: Path) -> None:
    drawn = {}
    for split in ("train", "held_out"):
        settings = ["terrains.names=[e]", *SAMPLED[1:], f"terrains.sample.split={split}"]
        config = load_config("letters.yml", settings)
        drawn[split] = names_of(config, make_world(config))
    assert drawn == {"train": ("e", "a", "b"), "held_out": ("e", "n", "o")}


@pytest.mark.parametrize(
    ("code", "settings", "said"),
    [
        ("", ["terrains.sample.families=[letter]"], "terrains.sample: there is no family 'letter'"),
        ("return [half[0]] * 2\n        ", [], "was asked for 2 terrains that differ, and drew a, a"),
        ("return []\n        ", [], "was asked for 2 terrains that differ, and drew none"),
        ("1 / 0\n        ", [], "letters.py:"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    world: Path, tiny_lm, code: str, settings: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write_text(world.read_text().replace("return [half[", f"{code}return [half["))
    assert train(tiny_lm[1], *SAMPLED, *settings) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("terraprompt: terrains.sample: ") and said in last and not Path("runs").exists()


def test_a_world_that_draws_none_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(documented("worlds.md", tmp_path), SAMPLED)
    with pytest.raises(UserError, match=r"terrains.sample: the world .*letters.py:Letters draws no terrains"):
        names_of(config, make_world(config))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_draws_its_terrains_too(world: Path, store: str, tiny_lm, local_ray) -> None:
    settings = [each for each in FAST if not each.startswith(("ray.", "train.total_steps"))]
    given = ["--config", "letters.yml", *settings, *SEARCH, *SAMPLED, f"model.model_path={tiny_lm[1]}"]
    assert main_exit("search", *given) == 0
    assert list(open_run("runs/letters").prompts) == ["a", "b"]
    assert main_exit("export", "runs/letters") == 0


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: Path) -> None:
    """A package with an entry point for the world, as pip installs one; it draws terrains."""
    site = tmp_path / "site"
    about = site / "letter_worlds-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: letter-worlds\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[terraprompt.worlds]\nalphabet = installed_letters:Letters\n")
    world.rename(site / "installed_letters.py")
    monkeypatch.syspath_prepend(site)


def test_an_entry_point_names_a_world_for_every_command(
    installed: None, store: str, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tiny_lm[1], "terrains.world=alphabet", *SAMPLED) == 0
    run = open_run("runs/letters")
    assert run.config.terrains.world == "alphabet" and list(run.prompts) == ["a", "b"]
    assert main_exit("export", "runs/letters") == 0
    assert main_exit("write", "--terrain", "a") == 0
    Path("text.txt").write_text("import math\naab.")
    capsys.readouterr()
    assert main_exit("replay", "text.txt", "--world", "alphabet", "--terrain", "a") == 0
    assert "text.txt on a: fitness 50.0" in capsys.readouterr().err
    assert train(tiny_lm[1], "terrains.world=alphabot") == 2
    assert "there is no world 'alphabot'; did you mean alphabet?" in capsys.readouterr().err
