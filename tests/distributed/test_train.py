"""The main job as a person meets it: its files, its interruptions, its errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "configs/quickstart.yml"
SMALL = (
    "terrains.names=[left_wall, tunnel]", "terrains.seconds=1", "warm_start.samples=24", "warm_start.steps=3",
    "method.n_soft_tokens=4", "method.num_rollouts=8", "method.replay_steps=2", "train.total_steps=3",
    "train.batch_size=8", "evaluation.samples_per_terrain=4", "evaluation.bootstrap=100", "ray.enabled=false",
    "train.tracker=null",
)  # fmt: skip
pytestmark = pytest.mark.timeout(240)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "distributed.train", "--config", str(QUICKSTART), *arguments]


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=200, cwd=cwd, env=environment)


def summary(run: Path) -> dict:
    data = json.loads((run / "summary.json").read_text())
    return {key: value for key, value in data.items() if key not in ("seconds", "config")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The directory in which an uninterrupted run was made."""
    directory = tmp_path_factory.mktemp("whole")
    done = train(*SMALL, cwd=directory)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return directory


def test_a_run_leaves_its_files_and_a_summary_of_the_agreed_form(whole):
    run = whole / "runs" / "quickstart"
    data = json.loads((run / "summary.json").read_text())
    assert {"seed", "rollouts", "seconds", "terrains", "transfer"} <= set(data)
    for name, row in data["terrains"].items():
        assert set(row) >= {
            "untuned_mean", "untuned_valid", "best_of_n", "n", "tuned_mean", "tuned_valid", "tuned_interval",
            "tuned_unique", "warm_start_mean",
        }  # fmt: skip
        low, high = row["tuned_interval"]
        assert low <= row["tuned_mean"] <= high and row["n"] == 24
        assert data["transfer"][name][name] == pytest.approx(row["tuned_mean"])
    assert set(data["transfer"]) == {"left_wall", "tunnel"}
    assert data["rollouts"] == 24 + 3 * 8
    for file in ("prompts.safetensors", "report.html", "config.json"):
        assert (run / file).stat().st_size > 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_a_checkpoint_and_resumes_to_the_same_end(whole, tmp_path, number, status):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(*SMALL), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment
    )
    for line in process.stdout:
        if line.startswith("step 1/3"):
            process.send_signal(number)
            break
    rest = process.stdout.read()
    assert process.wait(timeout=60) == status, rest
    assert "--resume" in rest and "Traceback" not in rest
    run = tmp_path / "runs" / "quickstart"
    assert not (run / "summary.json").exists()
    resumed = train(*SMALL, "--resume", "runs/quickstart", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stdout and "untuned 24/24" not in resumed.stdout
    assert summary(run) == summary(whole / "runs" / "quickstart")


def test_a_second_run_of_one_name_gets_a_directory_of_its_own(whole):
    before = summary(whole / "runs" / "quickstart")
    assert train(*SMALL, "train.total_steps=1", cwd=whole).returncode == 0
    assert (whole / "runs" / "quickstart-2" / "summary.json").exists()
    assert summary(whole / "runs" / "quickstart") == before


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("method.n_soft_token=8", "did you mean method.n_soft_tokens?"),
        ("terrains.names=[left_wal]", "left_wall"),
        ("model.model_path=no/such/model", "no/such/model"),
        ("method.n_soft_tokens=0", "method.n_soft_tokens"),
    ],
)
def test_a_mistake_is_one_clear_line_and_leaves_nothing_behind(tmp_path, setting, words):
    done = train(*SMALL, setting, cwd=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert words in line
    assert not list(tmp_path.iterdir())


def test_a_corrupt_checkpoint_is_one_clear_line_and_is_left_alone(whole, tmp_path):
    checkpoints = sorted((whole / "runs" / "quickstart").glob("**/manifest.json"))
    damaged = checkpoints[-1].parent
    victim = next(f for f in damaged.iterdir() if f.suffix == ".safetensors")
    good = victim.read_bytes()
    victim.write_bytes(good[:-7] + b"garbage")
    try:
        started = time.monotonic()
        done = train(*SMALL, "--resume", str(damaged), cwd=tmp_path)
        assert done.returncode == 2 and time.monotonic() - started < 100
        [line] = done.stderr.strip().splitlines()
        assert "--resume" in line and "Traceback" not in line
        assert victim.read_bytes()[-7:] == b"garbage" and not list(tmp_path.iterdir())
    finally:
        victim.write_bytes(good)
