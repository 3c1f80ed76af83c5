"""The main job as a person meets it: its files, its interruptions, its errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from distributed.cli import main
from distributed.jobs.train import run_training
from distributed.observability import mlflow_tracker as tracking
from distributed.observability.mlflow_store import Pauses
from distributed.observability.untracked import UNTRACKED
from distributed.results.summary import OPTIONAL_KEYS
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.pool import RolloutError

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "configs/quickstart.yml"
SMALL = (
    "terrains.names=[left_wall, tunnel]", "terrains.seconds=1", "warm_start.samples=24", "warm_start.steps=3",
    "method.n_soft_tokens=4", "method.num_rollouts=8", "method.replay_steps=2", "train.total_steps=3",
    "train.batch_size=8", "evaluation.samples_per_terrain=4", "evaluation.bootstrap=100", "ray.enabled=false",
    "train.tracker=null",
)  # fmt: skip
TRACKED = ("train.tracker=mlflow", "train.total_steps=1", "method.replay_steps=1", "warm_start.steps=1")
pytestmark = pytest.mark.timeout(240)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "distributed.train", "--config", str(QUICKSTART), *arguments]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "TERRAPROMPT_HOME")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=200, cwd=cwd, env=environment())


Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """The same command in this process, which saves its start; gives status, output and errors."""
    for name in ("RAY_ADDRESS", "TERRAPROMPT_HOME"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()

    def run(*arguments: str, cwd: Path) -> tuple[int, str, str]:
        monkeypatch.chdir(cwd)
        with pytest.raises(SystemExit) as end:
            main(["train", "--config", str(QUICKSTART), *SMALL, *arguments])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    yield run
    torch.set_num_threads(threads)


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
    assert set(data) - set(OPTIONAL_KEYS) == {"seed", "rollouts", "seconds", "terrains", "transfer"}
    for name, row in data["terrains"].items():
        assert set(row) == {
            "untuned_mean", "untuned_valid", "best_of_n", "n", "tuned_mean", "tuned_valid", "tuned_interval",
            "tuned_unique", "warm_start_mean", "untuned_interval",
        }  # fmt: skip
        low, high = row["tuned_interval"]
        assert low <= row["tuned_mean"] <= high and row["n"] == 24
        assert data["transfer"][name][name] == pytest.approx(row["tuned_mean"])
    assert set(data["transfer"]) == {"left_wall", "tunnel"}
    assert data["rollouts"] == 24 + 3 * 8
    for file in ("prompts.safetensors", "report.html", "config.json"):
        assert (run / file).stat().st_size > 0


@pytest.mark.parametrize(
    ("number", "status", "ray"),
    [
        (signal.SIGINT, 130, "false"),
        pytest.param(signal.SIGTERM, 143, "true", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, "true", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_leaves_a_checkpoint_and_resumes_to_the_same_end(
    whole, tmp_path, train_here, number, status, ray
):
    asked = command(*SMALL, f"ray.enabled={ray}", "ray.num_cpus=2")
    process = subprocess.Popen(
        asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment()
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
    # Of step 0 or 1: a step that is said may not be whole yet.
    assert list(run.glob("checkpoint_00000[01]/manifest.json"))
    code, out, err = train_here("--resume", "runs/quickstart", cwd=tmp_path)
    assert code == 0, err
    assert "resumed from" in out and "untuned 24/24" not in out
    assert summary(run) == summary(whole / "runs" / "quickstart")


@pytest.mark.slow
def test_a_signal_while_ray_samples_the_first_programs_is_no_error(tmp_path):
    asked = command(*SMALL, "ray.enabled=true", "ray.num_cpus=2", "warm_start.samples=400")
    process = subprocess.Popen(
        asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment()
    )
    for line in process.stdout:
        if line.startswith("untuned:"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 130, rest
    assert "--resume" in rest and "Traceback" not in rest


def test_a_finished_run_resumed_says_the_same_again(whole, train_here):
    run = whole / "runs" / "quickstart"
    before = summary(run)
    code, out, err = train_here("--resume", str(run), cwd=whole)
    assert (code, err) == (0, "") and "Before and after tuning" in out and "step 1/3" not in out
    assert summary(run) == before


def test_a_second_run_of_one_name_gets_a_directory_of_its_own(whole, train_here):
    before = summary(whole / "runs" / "quickstart")
    assert train_here("train.total_steps=1", cwd=whole)[0] == 0
    assert (whole / "runs" / "quickstart-2" / "summary.json").exists()
    assert summary(whole / "runs" / "quickstart") == before


def test_a_mistake_from_the_shell_is_one_clear_line_and_leaves_nothing_behind(tmp_path):
    done = train(*SMALL, "method.n_soft_token=8", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "did you mean method.n_soft_tokens?" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("terrains.names=[left_wal]", "did you mean 'left_wall'"),
        ("terrains.names=['bumpy(amplitud=3)']", "did you mean 'amplitude'?"),
        ("model.model_path=no/such/model", "no/such/model"),
        ("method.n_soft_tokens=0", "method.n_soft_tokens: must be at least 1, not 0"),
        ("method.n_soft_tokens=5000", "method.n_soft_tokens: 5000 soft tokens and the longest program need"),
        ("train.run_name=../elsewhere", "train.run_name"),
    ],
)
def test_a_mistake_is_one_clear_line_and_leaves_nothing_behind(tmp_path, train_here, setting, words):
    code, _, err = train_here(setting, cwd=tmp_path)
    assert code == 2
    [line] = err.splitlines()
    assert words in line
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_does_not_answer_is_one_clear_line_and_leaves_nothing_behind(tmp_path, train_here, monkeypatch):
    monkeypatch.setattr(
        "distributed.infra.ray_cluster.ray.is_initialized", lambda: False
    )  # other tests' Ray is not asked
    code, _, err = train_here("ray.enabled=true", "ray.address=127.0.0.1:9", cwd=tmp_path)
    assert code == 2
    assert err == "terraprompt: ray.address: no Ray cluster answers at 127.0.0.1:9: Connection refused\n"
    assert not list(tmp_path.iterdir())


def test_a_store_that_nobody_answers_at_is_not_named_at_the_end_and_gets_everything_later(
    tmp_path, train_here, store, monkeypatch, capsys, caplog
):
    monkeypatch.setattr(tracking, "_pauses", Pauses())
    uri = "http://127.0.0.1:9"
    status, out, _ = train_here(*TRACKED, f"tracking.uri={uri}", cwd=tmp_path)
    run = tmp_path / "runs" / "quickstart"
    assert status == 0 and "mlflow ui" not in out and uri not in out
    first, last = [record.getMessage() for record in caplog.records if "MLflow" in record.getMessage()]
    assert first.endswith(f"what it records waits in {run / UNTRACKED}: Connection refused")
    assert last.endswith(f"to send them: terraprompt track {run}")
    with pytest.raises(SystemExit) as end:
        main(["track", str(run), "--uri", store])
    client = MlflowClient(store)
    sent = client.get_run(capsys.readouterr().out.split()[-1])
    assert not end.value.code and sent.info.status == "FINISHED" and sent.info.run_name == "quickstart"
    for name, row in summary(run)["terrains"].items():
        assert sent.data.metrics[f"final/tuned_mean/{name}"] == row["tuned_mean"]
    files = {file.path for file in client.list_artifacts(sent.info.run_id)}
    assert {"report.html", "summary.json", "prompts.safetensors"} <= files


def test_workers_that_fail_for_good_are_one_clear_line_and_leave_a_checkpoint(tmp_path, train_here, monkeypatch):
    collect = LocalPool.collect

    def fail_in_the_first_step(pool, ticket, on_result=None):
        if ticket.requests[0].explore:
            raise RolloutError("request 7 failed 3 times")
        return collect(pool, ticket, on_result)

    monkeypatch.setattr(LocalPool, "collect", fail_in_the_first_step)
    code, _, err = train_here(cwd=tmp_path)
    assert code == 2
    [line] = err.splitlines()
    assert "request 7 failed 3 times; continue with:" in line
    monkeypatch.undo()
    assert train_here("--resume", "runs/quickstart", cwd=tmp_path)[0] == 0


def test_a_defect_before_the_first_checkpoint_leaves_no_directory(tmp_path, monkeypatch):
    from distributed.config.load import load_config

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LocalPool, "collect", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_training(load_config(QUICKSTART, SMALL))
    assert not list((tmp_path / "runs").iterdir())


def test_a_checkpoint_of_other_prompts_is_one_clear_line_and_its_run_stays_as_it_was(whole, train_here):
    run = whole / "runs" / "quickstart"
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    code, _, err = train_here("method.n_soft_tokens=5", "--resume", str(run), cwd=whole)
    assert code == 2
    [line] = err.splitlines()
    assert "method.n_soft_tokens 4 -> 5" in line
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_a_corrupt_checkpoint_is_one_clear_line_and_is_left_alone(whole, tmp_path, train_here):
    checkpoints = sorted((whole / "runs" / "quickstart").glob("**/manifest.json"))
    damaged = checkpoints[-1].parent
    victim = next(f for f in damaged.iterdir() if f.suffix == ".safetensors")
    good = victim.read_bytes()
    victim.write_bytes(good[:-7] + b"garbage")
    try:
        code, _, err = train_here("--resume", str(damaged), cwd=tmp_path)
        assert code == 2
        [line] = err.splitlines()
        assert "--resume" in line and "damaged" in line
        assert victim.read_bytes()[-7:] == b"garbage" and not list(tmp_path.iterdir())
    finally:
        victim.write_bytes(good)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """The directory of a run of a network and of a trained layer."""
    directory = tmp_path_factory.mktemp("shared")
    done = train(*SMALL, "method.prompt_source=ten", "ten.body=conv", "model.num_layers_unfrozen=1", cwd=directory)
    assert done.returncode == 0, done.stderr
    assert "network" in done.stdout and "layers " in done.stdout
    return directory / "runs" / "quickstart"


def write(terrain: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["write", "--terrain", terrain, "--from", str(run), "--picture", str(tmp_path / "walker.png")])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_a_network_writes_for_terrains_it_was_not_trained_on(shared, whole, tmp_path, capsys):
    for terrain in ("tunnel", "bumpy(amplitude=7, seed=4)"):
        code, program, said = write(terrain, shared, tmp_path, capsys)
        assert code == 0 and program.startswith("import math\n") and "fitness" in said
    code, _, said = write("bumpy", whole / "runs" / "quickstart", tmp_path, capsys)
    assert code == 2 and "has no prompt for 'bumpy" in said


def test_prompts_of_trained_layers_are_not_exported_alone(shared, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(shared)])
    [line] = capsys.readouterr().err.splitlines()
    assert "model.num_layers_unfrozen" in line and "terraprompt write --from" in line


@pytest.mark.parametrize(
    ("file", "words"), [("ten.safetensors", "the terrain embedding network in"), ("layers.safetensors", "cannot read")]
)
def test_a_damaged_network_or_layer_is_one_line(shared, tmp_path, capsys, file, words):
    good = (shared / file).read_bytes()
    (shared / file).write_bytes(good[:40])
    try:
        code, _, said = write("bumpy", shared, tmp_path, capsys)
    finally:
        (shared / file).write_bytes(good)
    [line] = said.splitlines()
    assert code == 2 and words in line


def test_the_summary_names_the_tokens_nearest_to_each_prompt(whole):
    nearest = json.loads((whole / "runs" / "quickstart" / "summary.json").read_text())["nearest"]
    assert {name: len(tokens) for name, tokens in nearest.items()} == {"left_wall": 4, "tunnel": 4}


def test_a_run_does_not_go_on_with_a_terrain_whose_file_has_changed(tmp_path, train_here):
    canyon = tmp_path / "canyon.csv"
    canyon.write_text("-50,0\n50,5\n")
    small = ("terrains.names=[file(path=canyon.csv), flat]", "train.total_steps=1", "train.run_name=canyon")
    assert train_here(*small, cwd=tmp_path)[0] == 0
    canyon.write_text("-50,0\n50,6\n")
    code, _, err = train_here(*small, "--resume", "runs/canyon", cwd=tmp_path)
    assert code == 2 and "file(path=canyon.csv) is another terrain than when the run began" in err
