"""The command: what it prints, what it exits with, and what it hands on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from distributed import dask_clash
from distributed.cli import main
from distributed.config import RunConfig
from distributed.errors import did_you_mean

ROOT = Path(__file__).parents[3]
QUICKSTART = str(ROOT / "configs/quickstart.yml")


def run(*arguments: str) -> int:
    """Runs a command in this process and returns what it exits with."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return int(exit_.value.code or 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, Path | None]]:
    """Puts a training that only notes what it is asked in the place of the real one."""
    noted: list[tuple[RunConfig, Path | None]] = []
    module: Any = ModuleType("distributed.jobs.train")

    def run_training(config: RunConfig, resume: Path | None) -> int:
        noted.append((config, resume))
        return 3

    module.run_training = run_training
    monkeypatch.setitem(sys.modules, "distributed.jobs.train", module)
    return noted


def test_a_missing_file_exits_with_2_and_one_line() -> None:
    command = [sys.executable, "-m", "distributed.cli", "train", "--config", "nope.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "terraprompt: no configuration file 'nope.yml'\n"


def test_train_hands_on_settings_and_exit_code(calls: list, tmp_path: Path) -> None:
    arguments = ("train", "--config", QUICKSTART, "method.n_soft_tokens=8", "--resume", str(tmp_path), "train.seed=7")
    assert run(*arguments) == 3
    [(config, resume)] = calls
    assert (config.method.n_soft_tokens, config.train.seed, resume) == (8, 7, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("method.n_soft_token=8",), "did you mean method.n_soft_tokens?"),
        (("model.model_arch_type=seq2seq",), "model.model_arch_type: seq2seq is not yet supported"),
        (("--resume", "nowhere"), "--resume: there is no 'nowhere'"),
    ],
)
def test_train_refuses_before_it_starts(
    calls: list, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "--config", QUICKSTART, *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and calls == []


def test_help_comes_without_heavy_imports() -> None:
    code = (
        "import sys\n"
        "from distributed.cli import main\n"
        "for command in (['terrains', 'sample', '--help'], ['train', '--help']):\n"
        "    try:\n        main(command)\n"
        "    except SystemExit:\n        pass\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'transformers', 'numba'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert "--config" in done.stdout and "SETTING=VALUE" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_misspelt_terrain_is_told_before_anything_heavy_is_imported() -> None:
    search = str(ROOT / "configs/search_quickstart.yml")
    commands = [
        ["train", "--config", QUICKSTART, "terrains.names=[tunel]"],
        ["train", "--config", QUICKSTART, "terrains.sample.count=3", "terrains.sample.families=[tunel]"],
        ["search", "--config", search, "terrains.names=[tunel]"],
        ["replay", "--terrain", "tunel", "program.py"],
        ["corpus", "--group", "flat,tunel"],
        ["terrains", "show", "flat", "tunel"],
        ["terrains", "sample", "--families", "tunel"],
    ]
    heavy = {"torch", "ray", "mlflow", "transformers", "numba", "scipy", "matplotlib", "pydantic_monty"}
    code = (
        "import sys\n"
        "from distributed.cli import main\n"
        f"for command in {commands!r}:\n"
        "    try:\n        main(command)\n"
        "    except SystemExit as exit_:\n        assert exit_.code == 2, (command, exit_.code)\n"
        f"print(sorted({heavy!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr
    told = done.stderr.splitlines()
    assert len(told) == len(commands)
    assert all("no terrain 'tunel': did you mean 'tunnel'?" in line for line in told)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("terrains", "sample", "--count", "0"),
            "'--count': Input should be greater than or equal to 1; `terraprom",
        ),
        (("corpus", "--keep-above", "nan"), "'--keep-above'"),
        (("train", "--bogus"), "No such option: --bogus; `terraprompt train --help` has the options"),
        (("nosuch",), "No such command 'nosuch'; `terraprompt --help` has the options"),
    ],
)
def test_a_misused_option_is_one_line_too(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.startswith("terraprompt: ") and said.count("\n") == 1


def test_training_says_that_a_search_is_for_another_command(
    calls: list, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.yml"
    file.write_text("search: {members: 3}\n")
    assert run("train", "--config", str(file)) == 3
    assert any("the section search is for `terraprompt search`" in each for each in caplog.messages)


def test_settings_lists_names_defaults_and_meanings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("settings", "method") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "method.n_soft_tokens = 20" in lines and "    Rows of the soft prompt of each terrain." in lines
    assert all(line.startswith(("method.", "    ")) for line in lines)
    assert run("settings") == 0
    assert "terrains.names = [left_wall, right_wall, tunnel]" in capsys.readouterr().out
    assert run("settings", "methd") == 2
    assert capsys.readouterr().err == "terraprompt: methd: no such setting; did you mean method?\n"


def test_only_a_mistake_of_the_users_is_one_line(calls: list, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: RunConfig, resume: Path | None) -> int:
        raise RuntimeError("a defect")

    monkeypatch.setattr(sys.modules["distributed.jobs.train"], "run_training", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["train", "--config", QUICKSTART])


def test_nearest_names_ignore_case_and_say_nothing_of_strangers() -> None:
    assert did_you_mean("TUNEL", ["tunnel", "bumpy"]) == "; did you mean tunnel?"
    assert did_you_mean("xyz", ["tunnel", "bumpy"]) == ""


def test_dask_beside_this_package_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dask_clash() is None
    info = tmp_path / "distributed-2026.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: distributed\nVersion: 2026.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "2026.1.0" in str(dask_clash())
    code = "import distributed"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 0 and "Dask's package 'distributed' 2026.1.0" in done.stderr
