"""`terraprompt config`: what is shown loads as it is, problems are told at once, what is converted keeps its sense."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from distributed.cli import main
from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.load import load_config
from distributed.config.trlx_programs import PPO
from distributed.config.trlx_sweep import load_search
from distributed.errors import UserError

ROOT = Path(__file__).parents[3]
SEED, TRLX = ROOT / "tests/data/seed_2022.yml", ROOT / "tests/data/trlx_default_ppo.yml"
OURS = sorted((ROOT / "configs").glob("*.yml"))


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(each) for each in arguments])
    return int(exit_.value.code or 0)


def written(path: Path, data: Any) -> Path:
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


@pytest.mark.parametrize("file", [*OURS, SEED, TRLX], ids=lambda file: file.stem)
def test_what_is_shown_loads_as_it_is(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show", file, "train.seed=7") == 0
    shown = capsys.readouterr().out
    assert load_config(written(tmp_path / "shown.yml", shown)) == load_config(file, ["train.seed=7"])
    assert run("config", "show", file, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert list(data["settings"]) == [each.name for each in settings(RunConfig)]


def test_it_is_shown_where_each_setting_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    run("config", "show", SEED, "method.lam=0.5", "terrains.sample.count=2")
    lines = {
        tuple(line.split("  # ")[0].split()): line.rpartition("# ")[2] for line in capsys.readouterr().out.split("\n")
    }
    assert lines["lr:", "0.0001"] == "file: train.lr_init"
    assert lines["lam:", "0.5"] == "command line" and lines["n_soft_tokens:", "20"] == "file"
    assert lines["estimator:", "rloo"] == "default" and lines["names:", "[]"] == "follows"
    assert lines["chunk_size:", "128"] == "file, only trlx reads it"


def test_all_problems_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "a.yml", {"method": {"gama": 1, "lam": 3}, "train": {"seed": -1, "orchestrator": "x"}})
    assert run("config", "check", file, "ray.enabled=perhaps") == 2
    said = capsys.readouterr().out
    for words in (
        "method.gama: no such",
        "method.lam: must be at most 1",
        "train.seed: must be at least 0",
        "ray.enab",
    ):
        assert words in said
    assert "ignored: train.orchestrator has no effect" in said and said.endswith("4 problems\n")
    file = written(
        tmp_path / "b.yml", {"model": {"model_arch_type": "seq2seq"}, "terrains": {"names": ["tunel", "flt"]}}
    )
    assert run("config", "check", file) == 2
    said = capsys.readouterr().out
    assert "seq2seq is not yet supported" in said and "'tunel'" in said and "'flt'" in said
    space = {"method.gama": [1], "method.lam": [0.5, 2]}
    assert run("config", "check", written(tmp_path / "c.yml", {"search": {"space": space}})) == 2
    said = capsys.readouterr().out
    assert "there is no setting method.gama; did you mean method.gamma?" in said and "search.space.method.lam" in said


@pytest.mark.parametrize(
    ("terrains", "said"),
    [
        ({"world": "function"}, "there is no world 'function'; did you mean functions?"),
        ({"world": "gone.py:World"}, "gone.py: no such file"),
        ({"options": {"secnds": 2}}, "terrains.options.secnds: no such setting; did you mean seconds?"),
        (
            {"world": "functions", "options": {"reward": "length", "terrains": {"a": {"instrutions": ["x"]}}}},
            "terrains.options.terrains.a.instrutions: no such setting; did you mean instructions?",
        ),
        (
            {"world": "functions", "options": {"reward": "length", "terains": {"a": {"instructions": ["x"]}}}},
            "terrains.options.terains: no such setting; did you mean terrains?",
        ),
        (
            {"world": "functions", "options": {"reward": "length", "terrains": ["a"]}},
            "terrains.options.terrains: must be",
        ),
    ],
)
def test_a_world_and_its_options_are_checked(
    terrains: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "check", written(tmp_path / "a.yml", {"terrains": terrains})) == 2
    shown = capsys.readouterr().out
    assert said in shown and shown.endswith("1 problem\n")


@pytest.mark.parametrize("command", ["check", "show", "convert"])
def test_a_path_that_cannot_be_is_no_file(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", command, "~nobody_of_that_name/a.yml") == 2
    shown = "".join(capsys.readouterr())
    assert "no" in shown and "Traceback" not in shown


@pytest.mark.parametrize("file", [*OURS, SEED, TRLX], ids=lambda file: file.stem)
def test_what_is_right_has_no_problem(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "check", file) == 0
    assert capsys.readouterr().out.endswith("no problem\n")


@pytest.mark.parametrize("file", [SEED, TRLX], ids=lambda file: file.stem)
def test_what_is_converted_means_the_same_and_needs_no_words(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_config(file).model_dump()
    caplog.clear()
    out = tmp_path / "new.yml"
    assert run("config", "convert", file, "--out", out) == 0
    assert "dropped: method.chunk_size: only trlx reads it" in capsys.readouterr().out
    after = load_config(out).model_dump()
    assert caplog.messages == []
    idle = {each.name for each in settings(RunConfig) if each.unused} | {"train.seq_length"}
    for section in before:
        for name, value in before[section].items():
            assert f"{section}.{name}" in idle or after[section][name] == value
    assert run("config", "convert", file, "--out", out) == 2
    assert "is there already" in capsys.readouterr().err


def test_what_no_run_takes_is_left_out_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    method = {"n_soft_tokens": 4, "gama": 1, "gen_kwargs": {"num_beams": 5, "top_k": 3}}
    assert run("config", "convert", written(tmp_path / "a.yml", {"method": method, "debug": {"a": 1}})) == 0
    said = capsys.readouterr().out
    assert yaml.safe_load(said) == {"method": {"n_soft_tokens": 4, "gen_kwargs": {"top_k": 3}}}
    for words in (
        "dropped: method.gama: no such",
        "dropped: method.gen_kwargs.num_beams: must be 1",
        "dropped: debug:",
    ):
        assert words in said


def test_a_sweep_becomes_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = {"tune_config": {"num_samples": 5}, "method.lam": {"strategy": "uniform", "values": [0.5, 0.9]}}
    file, out = written(tmp_path / "sweep.yml", sweep), tmp_path / "new.yml"
    assert run("config", "convert", TRLX, "--sweep", file, "--out", out) == 0
    assert load_search(out, None).search == load_search(TRLX, file).search
    assert load_config(out).search.members == 5


PROGRAM = """
import os
RATE = 0.25
default_config = TRLConfig(
    train=TrainConfig(total_steps=2 * 3, batch_size=int(os.environ["N"]), tags=["a"], epochs=-1 + 2),
    optimizer=OptimizerConfig(name="adamw", kwargs=dict(lr=RATE, betas=(0.5, 0.75))),
    method=PPOConfig(name="PPOConfig", gen_kwargs={"max_new_tokens": 9, "eos_token_id": tokenizer.eos}),
)
default_config.train.seed = 3
raise SystemExit("it ran")
"""


def test_the_settings_of_a_program_are_read_and_it_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "convert", written(tmp_path / "job.py", PROGRAM)) == 0
    said = capsys.readouterr().out
    assert yaml.safe_load(said) == {
        "method": {"name": "PPOConfig", "gen_kwargs": {"max_new_tokens": 9}},
        "optimizer": {"name": "adamw", "kwargs": {"lr": 0.25, "betas": [0.5, 0.75]}},
        "train": {"total_steps": 6, "tags": ["a"]},
    }
    for words in ("train.batch_size is computed", "eos_token_id is computed", "train.seed is set later"):
        assert words in said


def test_a_program_that_changes_the_defaults_of_trlx_is_those(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "config = default_ppo_config().evolve(train=dict(batch_size=8), method=dict(gamma=0.5))\n"
    run("config", "show", written(tmp_path / "job.py", text), "--json")
    found = json.loads(capsys.readouterr().out)["settings"]
    assert (found["train.batch_size"]["value"], found["method.gamma"]["value"]) == (8, 0.5)
    assert found["method.num_rollouts"]["value"] == PPO["method"]["num_rollouts"]
    for text, words in (
        ("x = 1\n", "without a TRLConfig"),
        ("x = default_ilql_config()\n", "ILQL"),
        ("x = (", "cannot"),
    ):
        assert run("config", "show", written(tmp_path / "job.py", text)) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(UserError, match="`terraprompt config convert` writes"):
        load_config(tmp_path / "job.py")


def functions(**options: Any) -> dict[str, Any]:
    terrains = {"a": {"instructions": ["x"]}, "b": {"data": "not_there.jsonl"}}
    return {"terrains": {"world": "functions", "options": {"terrains": terrains, **options}}}


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("wrong.py:f", "wrong.py cannot be imported: wrong.py:1: SyntaxError"),
        ("right.py:reward", "right.py has no 'reward'; did you mean reward_fn?"),
        ("none.py:f", "none.py: no such file"),
        ({"name": "right.py:reward_fn", "powr": 3}, "takes no argument 'powr'; did you mean power?"),
        ("lenght", "there is no reward 'lenght'; did you mean length?"),
        ({"name": "length", "pre": 3}, "reward length: pre: no such setting; did you mean per?"),
        (["right.py:reward_fn", "right.py:number"], "right.py:number is an int, and not a function"),
    ],
)
@pytest.mark.parametrize("place", ["reward", "fitness", "measures"])
def test_the_functions_of_a_file_are_looked_at(
    reward: Any, said: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.py").write_text("def f(:\n")
    (tmp_path / "right.py").write_text("number = 3\ndef reward_fn(outputs, power=1): return [0.0 for _ in outputs]\n")
    asked = {"reward": "right.py:reward_fn", place: {"mine": reward} if place == "measures" else reward}
    assert run("config", "check", written(tmp_path / "a.yml", functions(**asked))) == 2
    *_, line, count = capsys.readouterr().out.splitlines()
    assert line.startswith("  problem: terrains.world: ") and said in line and count == "1 problem"
    assert run("config", "check", written(tmp_path / "b.yml", functions(reward="right.py:reward_fn"))) == 0


def test_a_password_that_would_be_kept_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ask.py").write_text("def ask(outputs, api_key, **rest): return [0.0 for _ in outputs]\n")
    reward = {"name": "ask.py:ask", "api_key": "sk-1"}
    assert run("config", "check", written(tmp_path / "a.yml", functions(reward=reward))) == 0
    said = capsys.readouterr().out
    assert "  warning: terrains.options.reward.api_key looks like a password" in said and "sk-1" not in said
    assert run("config", "check", written(tmp_path / "b.yml", functions(reward="ask.py:ask"))) == 0
    assert "warning" not in capsys.readouterr().out


def test_it_is_quick_and_needs_no_network() -> None:
    code = (
        "import sys\nfrom distributed.cli import main\n"
        f"for command in ('show', 'check', 'convert'):\n    try:\n        main(['config', command, {str(SEED)!r}])\n"
        "    except SystemExit:\n        pass\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'transformers', 'numba', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("variable", ["TRLX_SRC", "OPENELM_SRC"])
def test_every_file_of_a_real_clone_loads_or_is_named(variable: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = os.environ.get(variable)
    if not root:
        pytest.skip(f"{variable} names no clone of the public repository")
    files = [each for end in ("yml", "yaml", "json", "py") for each in Path(root).rglob(f"*.{end}")]
    files = [each for each in files if {"configs", "config", "examples"} & set(each.relative_to(root).parts)]
    assert files
    for file in files:
        status = run("config", "check", file)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  problem: ")]
        with capsys.disabled():
            print(f"{file.relative_to(root)} | {lines[0].strip() if lines else 'loads'}")
        assert (status == 2) == bool(lines)
        assert not lines or "no such setting" not in lines[0], (file, lines)
