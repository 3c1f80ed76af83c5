"""A search as a person meets it: its files, its interruptions, its errors. With Tune and the bundled model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distributed.checkpoint.manager import latest, load_checkpoint
from distributed.cli import main
from distributed.observability.mlflow_tracker import open_client
from distributed.results.run_folder import open_run

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "configs/search_quickstart.yml"
SIZES = [1, 4, 8, 20, 50]
SMALL = (
    "terrains.names=[left_wall, tunnel]", "terrains.seconds=1", "warm_start.samples=16", "warm_start.steps=2",
    "method.num_rollouts=4", "method.ppo_epochs=1", "method.gen_kwargs.max_new_tokens=24", "train.batch_size=4",
    "train.total_steps=9", "evaluation.samples_per_terrain=4", "evaluation.bootstrap=100", "ray.num_cpus=2",
    "search.interval=1", "search.members=8", "search.quantile=0.5", "search.resample=1.0",
    "search.evaluation_samples=2", "search.stored_programs=2", "search.distill_steps=2",
    "search.space={method.n_soft_tokens: [1, 4, 8, 20, 50], method.initialize_from_vocab: [true, false]}",
)  # fmt: skip


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "distributed.search", *arguments]
    log = open(cwd / "log", "a")  # noqa: SIM115
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=environment)


def search(*arguments: str, cwd: Path) -> str:
    """Runs a search to its end and returns what it said."""
    assert start(*arguments, cwd=cwd).wait(timeout=550) == 0, (cwd / "log").read_text()[-4000:]
    return (cwd / "log").read_text()


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def rounds_made(folder: Path) -> int:
    return len(read(folder / "lineage.json")["rounds"]) if (folder / "lineage.json").exists() else 0


def checkpoints(folder: Path) -> list[dict[str, Any]]:
    found = [latest(each) for each in sorted(folder.glob("tune/member-*/checkpoint_*"))]
    return [load_checkpoint(path).state for path in found if path]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("members", "synch", "steps"), [(8, "true", 9), (4, "false", 15)])
def test_twenty_exploits_that_change_size_leave_no_error(tmp_path, members, synch, steps):
    settings = (f"search.members={members}", f"search.synch={synch}", f"train.total_steps={steps}")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    command = ("--config", str(QUICKSTART), *SMALL, *settings, f"tracking.uri={store}", "search.measure_surgery=false")
    said = search(*command, cwd=tmp_path)
    folder = tmp_path / "runs/search_quickstart"
    summary, lineage = read(folder / "summary.json"), read(folder / "lineage.json")
    assert summary["errored"] == 0 and summary["resizes"] >= 20
    assert summary["resizes"] == sum(each["from"] != each["to"] for each in lineage["exploits"])
    for state in checkpoints(folder):
        assert state["loop"]["learner"]["prompts"].shape[1] == state["settings"]["method.n_soft_tokens"]
    assert {each["settings"]["method.n_soft_tokens"] for each in lineage["rounds"]} <= set(SIZES)
    best = max(each["fitness"] for each in lineage["rounds"])
    assert summary["best"]["fitness"] == pytest.approx(best)
    run = open_run(folder)
    assert {each.shape[0] for each in run.prompts.values()} == {summary["best"]["config"]["method.n_soft_tokens"]}
    assert (folder / "family_tree.png").stat().st_size > 5000
    assert list(folder.glob("tune/member-*/events.out.tfevents*"))
    assert "Trial name" in said and "Copies that changed size" in said
    _check_mlflow(store, lineage["mlflow"], members)


def _check_mlflow(store: str, ids: dict[str, str], members: int) -> None:
    client = open_client(store)
    parent = client.get_run(ids["search"])
    assert parent.info.status == "FINISHED"
    for member in range(members):
        run = client.get_run(ids[str(member)])
        assert run.data.tags["mlflow.parentRunId"] == ids["search"] and run.info.status == "FINISHED"
        assert "method.n_soft_tokens" not in run.data.params and "method.num_rollouts" in run.data.params
        assert run.data.tags["settings.method.n_soft_tokens"] == str(int(run.data.metrics["n_soft_tokens"]))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_an_interrupted_search_resumes_and_no_member_starts_over(tmp_path, number, status):
    folder = tmp_path / "runs/search_quickstart"
    settings = ("search.members=4", "train.total_steps=40", "train.tracker=null")
    process = start("--config", str(QUICKSTART), *SMALL, *settings, cwd=tmp_path)
    while rounds_made(folder) < 10 and process.poll() is None:
        time.sleep(0.2)
    # Tune writes down where its trials are every two seconds.
    time.sleep(3)
    process.send_signal(number)
    assert process.wait(timeout=120) == status
    before = read(folder / "lineage.json")["rounds"]
    assert not (folder / "summary.json").exists()
    said = search("--resume", str(folder), cwd=tmp_path)
    assert said.count("untuned: 16 to do") == 1
    after = read(folder / "lineage.json")["rounds"]
    assert read(folder / "summary.json")["errored"] == 0
    for member in range(4):
        made = [each["step"] for each in after if each["member"] == member]
        assert made[-1] == 40 and made.count(1) == 1
    assert before[:4] == after[:4]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("original", ["stays", "is gone"])
def test_a_search_that_was_copied_goes_on_in_the_copy_alone_past_what_is_damaged(tmp_path, original):
    folder, there = tmp_path / "runs/search_quickstart", tmp_path / "elsewhere/copy"
    settings = (
        "search.members=3", "train.total_steps=24", "train.tracker=null", "search.total_rounds=14",
        "search.space={method.n_soft_tokens: [1, 4], method.replay_size: [2, 3], warm_start.elites: [1, 5]}",
    )  # fmt: skip
    process = start("--config", str(QUICKSTART), *SMALL, *settings, cwd=tmp_path)
    while rounds_made(folder) < 5 and process.poll() is None:
        time.sleep(0.2)
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    (shutil.copytree if original == "stays" else shutil.move)(folder, there)
    for member in there.glob("tune/member-*"):
        [file] = sorted(member.glob("checkpoint_*"))[-1].glob("*/tensors.safetensors")
        file.write_bytes(b"damaged")
    before = (folder / "lineage.json").read_bytes() if original == "stays" else b""
    said = search("--resume", str(there), cwd=tmp_path)
    assert folder.exists() == (original == "stays")
    assert original == "is gone" or (folder / "lineage.json").read_bytes() == before
    lineage, summary = read(there / "lineage.json"), read(there / "summary.json")
    assert summary["errored"] == 0 and summary["rounds"] >= 14
    assert summary["damaged_checkpoints"] == len(lineage["damaged"]) >= 3
    assert "is damaged and was passed over" in said and "Traceback" not in said
    best, config = read(there / "best/summary.json"), read(there / "best/config.json")
    assert best["config"] == config
    assert config["method"]["replay_size"] == summary["best"]["config"]["method.replay_size"]
    assert config["rollouts"]["workers"] == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_interruption_of_the_last_evaluation_is_one_too(tmp_path):
    folder = tmp_path / "runs/search_quickstart"
    settings = ("search.members=2", "train.total_steps=1", "train.tracker=null", "evaluation.samples_per_terrain=2000")
    process = start("--config", str(QUICKSTART), *SMALL, *settings, cwd=tmp_path)
    while "evaluation: " not in (tmp_path / "log").read_text() and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    said = (tmp_path / "log").read_text()
    assert "--resume" in said.splitlines()[-1] and "Traceback" not in said
    assert not (folder / "summary.json").exists()


@pytest.mark.slow
def test_a_request_that_can_never_be_placed_is_one_clear_line_and_leaves_nothing_behind(tmp_path):
    arguments = ("--config", str(QUICKSTART), *SMALL, "search.cpus_per_member=64")
    assert start(*arguments, cwd=tmp_path).wait(timeout=120) == 2
    [line] = (tmp_path / "log").read_text().strip().splitlines()
    assert "no member can ever start" in line and "64 CPU" in line and "search.cpus_per_member" in line
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--config", str(QUICKSTART), "search.space={method.n_soft_token: [1]}"],
            "did you mean method.n_soft_tokens?",
        ),
        (["--config", str(QUICKSTART), "search.space={method.n_soft_tokens: [4, 900]}"], "the language model has"),
        (["--config", str(QUICKSTART), "search.space={method.n_soft_tokens: []}"], "no values to choose from"),
        ([], "needs either --config FILE or --resume DIR"),
        (["--resume", "nowhere"], "--resume: there is no 'nowhere'"),
        (["--resume", "nowhere", "method.n_soft_tokens=3"], "leave method.n_soft_tokens=3 out"),
    ],
)
def test_a_mistake_is_one_clear_line_before_anything_starts(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distributed.search.run.connect_ray", lambda options: pytest.fail("Ray was started"))
    with pytest.raises(SystemExit) as exit_:
        main(["search", *arguments])
    [line] = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == 2 and words in line
    assert not list(tmp_path.iterdir())
