"""A resumed run: where it goes on, what may change, and who else is at work there."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from distributed.checkpoint.manager import Checkpoint, latest, load_checkpoint
from distributed.cli import main
from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.infra.locking import locked
from distributed.jobs.train import _tracker
from distributed.observability.mlflow_tracker import open_client, open_tracker
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.pool import RolloutError
from distributed.training.resume import Start
from tests.distributed.full_disk import full_disk, limit
from tests.distributed.jobs.test_train import QUICKSTART, SMALL, environment, summary

STEPS = 5
Terraprompt = Callable[..., tuple[int, str, str]]


def files(folder: Path) -> dict[str, bytes]:
    """The content of all files below a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def call(*arguments: str) -> int:
    """Runs a command in this process and returns its status."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of five steps, of which the checkpoints of the last three are kept."""
    directory, threads = tmp_path_factory.mktemp("finished"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for name in ("RAY_ADDRESS", "TERRAPROMPT_HOME"):
            patch.delenv(name, raising=False)
        assert call("train", "--config", str(QUICKSTART), *SMALL, f"train.total_steps={STEPS}") == 0
    yield directory / "runs" / "quickstart"
    torch.set_num_threads(threads)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terraprompt:
    """The command in a directory of this test; gives status, output and errors."""
    for name in ("RAY_ADDRESS", "TERRAPROMPT_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call(*arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, for this test."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / "quickstart", symlinks=True))


def stopped(here: Terraprompt, monkeypatch: pytest.MonkeyPatch, stop: Callable[[], object], *arguments: str, at: int):
    """Trains, and does something while the rollouts of a step are collected."""
    collect = LocalPool.collect

    def stopping(pool, ticket, on_result=None):
        if ticket.requests[0].explore and collect.asked == at:
            stop()
        collect.asked += ticket.requests[0].explore
        return collect(pool, ticket, on_result)

    collect.asked = 0
    with monkeypatch.context() as patch:
        patch.setattr(LocalPool, "collect", stopping)
        return here("train", "--config", str(QUICKSTART), *SMALL, f"train.total_steps={STEPS}", *arguments)


def test_a_run_that_is_resumed_in_the_past_is_a_branch(run: Path, finished: Path, here: Terraprompt) -> None:
    before = files(run)
    code, out, err = here("train", "--resume", str(run / "checkpoint_000003"))
    assert code == 0, err
    branch = run.with_name("quickstart-branch-1")
    [line] = [line for line in out.splitlines() if line.startswith("resumed from")]
    assert line.endswith(f"{run} has come to step {STEPS} and stays as it is, this is a branch: {branch}")
    assert files(run) == before
    assert json.loads((branch / "branch.json").read_text()) == {
        "run": str(run), "checkpoint": "checkpoint_000003", "step": 3,
    }  # fmt: skip
    assert summary(branch) == summary(finished)
    code, out, err = here("train", "--resume", str(branch))
    assert code == 0 and f"resumed from {branch / 'checkpoint_000005'}: done" in out


def test_a_branch_that_is_interrupted_at_once_is_resumed_from_where_it_began(
    run: Path, finished: Path, here: Terraprompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LocalPool, "collect", lambda *_: signal.raise_signal(signal.SIGTERM))
        code, out, _ = here("train", "--resume", str(run / "checkpoint_000003"))
    branch = run.with_name("quickstart-branch-1")
    assert code == 143 and out.splitlines()[-1].endswith(f"terraprompt train --resume {branch}")
    assert here("train", "--resume", str(branch))[0] == 0
    assert summary(branch) == summary(finished) and not run.with_name("quickstart-branch-2").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["optimizer.kwargs.lr=0.5"], ["optimizer.kwargs.lr 0.02 -> 0.5"]),
        (
            ["optimizer.kwargs.betas=[0.5,0.9]", "method.init_kl_coef=3", "train.total_steps=9"],
            ["optimizer.kwargs.betas [0.9, 0.95] -> [0.5, 0.9]", "method.init_kl_coef 0.05 -> 3"],
        ),
        (["method.estimator=gae", "optimizer.name=adamw"], ['"rloo" -> "gae"', '"adam" -> "adamw"']),
        (["method.n_soft_tokens=5"], ["method.n_soft_tokens 4 -> 5"]),
        (["terrains.names=[left_wall]"], ['["left_wall", "tunnel"] -> ["left_wall"]']),
        (["train.total_steps=4"], ["train.total_steps 5 -> 4: 5 steps are made already"]),
        (["method.n_soft_token=5"], ["did you mean method.n_soft_tokens?"]),
    ],
)
@pytest.mark.parametrize("with_config", [True, False])
def test_what_cannot_change_is_refused_by_name_and_nothing_is_rewritten(
    run: Path, here: Terraprompt, given: list[str], words: list[str], with_config: bool
) -> None:
    before = files(run)
    own = ["--config", str(QUICKSTART), *SMALL, f"train.total_steps={STEPS}"] if with_config else []
    code, out, err = here("train", *own, "--resume", str(run), *given)
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    assert all(each in line for each in words), line
    assert files(run) == before


def test_a_finished_run_that_is_asked_for_more_steps_goes_on(finished: Path, tmp_path: Path, here: Terraprompt) -> None:
    own = ("--config", str(QUICKSTART), *SMALL, "train.total_steps=3")
    assert here("train", *own)[0] == 0
    run = tmp_path / "runs" / "quickstart"
    assert json.loads((run / "summary.json").read_text())["steps"] == 3
    code, out, err = here("train", "--resume", "runs/quickstart", f"train.total_steps={STEPS}")
    assert code == 0, err
    assert f"step 4/{STEPS}" in out and "step 3/" not in out
    assert json.loads((run / "config.json").read_text())["train"]["total_steps"] == STEPS
    assert summary(run) == summary(finished)


def test_a_finished_run_is_evaluated_anew_where_evaluation_changes(run: Path, here: Terraprompt) -> None:
    assert here("train", "--resume", str(run), "evaluation.samples_per_terrain=6", "rollouts.workers=3")[0] == 0
    said = json.loads((run / "config.json").read_text())
    assert said["evaluation"]["samples_per_terrain"] == 6 and said["rollouts"]["workers"] == 3
    newest = latest(run)
    assert newest is not None
    assert [len(each["programs"]) for each in load_checkpoint(newest).state["loop"]["tuned"].values()] == [6, 6]


def test_another_language_model_at_the_same_place_is_refused(
    run: Path, here: Terraprompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.models.frozen.FrozenLM.hash", property(lambda _: "other"))
    before = files(run)
    code, _, err = here("train", "--resume", str(run))
    assert code == 2 and "the language model there is another one than when the run began" in err
    assert files(run) == before


def test_train_and_search_say_whose_a_directory_is(run: Path, tmp_path: Path, here: Terraprompt) -> None:
    code, _, err = here("search", "--resume", str(run))
    assert code == 2 and f"is no search but a run; go on with: terraprompt train --resume {run}" in err
    search = tmp_path / "a search"
    search.mkdir()
    for name in ("lineage.json", "config.json"):
        (search / name).write_text("{}")
    code, _, err = here("train", "--resume", str(search))
    assert code == 2 and f"go on with: terraprompt search --resume '{search}'" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "train needs --config FILE, or --resume DIR"),
        (["train", "--resume", "runs/quickstar"], "there is no 'runs/quickstar'; did you mean quickstart?"),
        (["train", "--resume", "runs"], "there is no checkpoint in 'runs'"),
        (["search", "--resume", "runs/quickstar"], "did you mean quickstart?"),
    ],
)
def test_nothing_to_resume_is_one_line(run: Path, here: Terraprompt, arguments: list[str], words: str) -> None:
    code, _, err = here(*arguments)
    [line] = err.splitlines()
    assert code == 2 and words in line


def test_what_is_printed_can_be_typed_into_a_shell(
    finished: Path, tmp_path: Path, here: Terraprompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RolloutError("request 7 failed 3 times")

    code, _, err = stopped(here, monkeypatch, fail, "train.checkpoint_dir=my runs", at=2)
    [line] = err.splitlines()
    words = shlex.split(line.partition("continue with: ")[2])
    run = tmp_path / "my runs" / "quickstart"
    assert code == 2 and words == ["terraprompt", "train", "--resume", str(run)]
    assert here(*words[1:])[0] == 0
    assert summary(run) == summary(finished)


def test_a_run_that_is_in_use_is_left_alone(run: Path, here: Terraprompt) -> None:
    (run / ".unfinished_checkpoint_000006").mkdir()
    (run / ".unfinished_checkpoint_000006" / "state.json").write_text("{}")
    with locked(run):
        before = files(run)
        code, out, err = here("train", "--resume", str(run), "evaluation.bootstrap=700")
        assert (code, out) == (2, "") and files(run) == before
    [line] = err.splitlines()
    assert f"is in use by process {os.getpid()} on" in line


def test_a_hangup_leaves_a_checkpoint_as_other_signals_do(
    finished: Path, tmp_path: Path, here: Terraprompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, lambda *_: None)  # the process of the tests survives what is not handled
    try:
        code, out, _ = stopped(here, monkeypatch, lambda: signal.raise_signal(signal.SIGHUP), at=2)
    finally:
        signal.signal(signal.SIGHUP, before)
    run = tmp_path / "runs" / "quickstart"
    assert code == 129 and out.splitlines()[-1].endswith(f"terraprompt train --resume {run}")
    assert here("train", "--resume", str(run))[0] == 0
    assert summary(run) == summary(finished)


def test_a_reader_that_goes_away_leaves_a_checkpoint(
    finished: Path, tmp_path: Path, here: Terraprompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        code, _, err = stopped(here, monkeypatch, lambda: os.close(reading), at=2)
    run = tmp_path / "runs" / "quickstart"
    assert code == 141 and "Traceback" not in err
    assert err.splitlines()[-1] == f"interrupted; continue with: terraprompt train --resume {run}"
    assert here("train", "--resume", str(run))[0] == 0
    assert summary(run) == summary(finished)


@pytest.mark.slow
def test_head_ends_a_run_in_good_order(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "distributed.train", "--config", str(QUICKSTART), *SMALL]
    script = f"{shlex.join(asked)} | head -2; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=200, cwd=tmp_path, env=environment()
    )
    assert done.stdout.splitlines()[-1] == "141", done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.slow
def test_a_terminal_that_is_closed_leaves_a_checkpoint(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()

    def take_the_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run below nohup

    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.train", "--config", str(QUICKSTART), *SMALL, "train.total_steps=99"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment() | {"TERM": "xterm"},
        start_new_session=True, preexec_fn=take_the_terminal,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"2/99" not in seen:
        seen += os.read(ours, 65536)
    os.close(ours)
    assert process.wait(timeout=60) == 129
    newest = latest(tmp_path / "runs" / "quickstart")
    assert newest is not None and load_checkpoint(newest).step >= 1


def test_a_full_disk_is_one_line_and_the_last_checkpoint_resumes(
    finished: Path, tmp_path: Path, here: Terraprompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_disk(None):
        code, _, err = stopped(here, monkeypatch, lambda: limit(2000), at=2)
    run = tmp_path / "runs" / "quickstart"
    assert code == 2
    [line] = [line for line in err.splitlines() if line.startswith("terraprompt:")]
    assert line == (
        f"terraprompt: cannot write the checkpoint {run}/checkpoint_000003: File too large; raise the limit "
        f"on the size of files (ulimit -f); continue with: terraprompt train --resume {run}"
    )
    assert "Traceback" not in err and not list(run.glob(".unfinished_*"))
    code, out, err = here("train", "--resume", str(run))
    assert code == 0, err
    assert "steps, 2 steps made" in out and summary(run) == summary(finished)


@pytest.mark.parametrize("name", ["config.json", "summary.json", "prompts.safetensors", "walkers.png", "report.html"])
def test_a_disk_that_is_full_at_the_end_is_one_line(
    run: Path, finished: Path, here: Terraprompt, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes rise in the order in which files are written, but for the checkpoint's."""
    (run / name).unlink(missing_ok=True)
    place = run / f".unfinished_{name}"
    place.mkdir()  # no file can be written there
    (place / "in the way").write_text("")
    if name == "config.json":
        shutil.copy(finished / name, run / name)
    code, _, err = here("train", "--resume", str(run))
    [line] = err.splitlines()
    assert code == 2 and f"cannot write '{run / name}': Is a directory; continue with: terraprompt train" in line
    shutil.rmtree(place)
    assert here("train", "--resume", str(run))[0] == 0
    assert summary(run) == summary(finished)


def test_a_new_run_on_a_full_disk_leaves_no_directory(tmp_path: Path, here: Terraprompt) -> None:
    with full_disk(500):
        code, _, err = here("train", "--config", str(QUICKSTART), *SMALL)
    [line] = err.splitlines()
    assert code == 2 and "File too large; raise the limit" in line
    assert not list((tmp_path / "runs").iterdir())


def test_a_branch_is_a_record_of_its_own_with_the_steps_before(store: str, tmp_path: Path) -> None:
    config = with_settings(RunConfig(), {"tracking.uri": store, "train.tags": ["mine"]})
    elsewhere = with_settings(config, {"tracking.experiment": "elsewhere"})
    first = open_tracker("mlflow", "terraprompt", {}, uri=store)
    first.log({"fitness/mean": 9.0}, 5)
    first.close()
    history = [{"step": step, "phase": "steps", "fitness/mean": float(step)} for step in (1, 2, 3)]
    state = {"loop": {"history": history}, "run": {"mlflow_run_id": first.run_id}}
    saved, client = Checkpoint(tmp_path / "checkpoint_000003", 3, state, None), open_client(store)

    def record(asked: RunConfig, newest: int) -> tuple[str | None, list[float], dict[str, str]]:
        with _tracker(asked, tmp_path / "directory", Start(tmp_path, saved, config, newest)) as tracker:
            pass
        values = [each.value for each in client.get_metric_history(tracker.run_id, "fitness/mean")]
        return tracker.run_id, sorted(values), client.get_run(tracker.run_id).data.tags

    assert record(config, newest=3)[:2] == (first.run_id, [9.0])
    run_id, values, tags = record(config, newest=5)
    assert run_id != first.run_id and values == [1.0, 2.0, 3.0]
    said = {"branch_of": str(tmp_path), "branch_of_run_id": str(first.run_id), "branch_step": "3", "mine": "true"}
    assert said.items() <= tags.items()
    run_id, values, tags = record(elsewhere, newest=3)
    assert run_id != first.run_id and values == [1.0, 2.0, 3.0] and "branch_of" not in tags
    assert client.get_experiment(client.get_run(run_id).info.experiment_id).name == "elsewhere"
    assert [each.value for each in client.get_metric_history(first.run_id, "fitness/mean")] == [9.0]


def test_the_learning_rate_does_not_climb_again(here: Terraprompt, tmp_path: Path) -> None:
    short = [*SMALL, "train.total_steps=2", "scheduler.name=cosine_annealing"]
    assert here("train", "--config", str(QUICKSTART), *short)[0] == 0
    run = tmp_path / "runs" / "quickstart"
    before = files(run)
    code, _, err = here("train", "--resume", str(run), "train.total_steps=4")
    assert code == 2 and "train.total_steps 2 -> 4: the learning rate's schedule, cosine_annealing, is spread" in err
    assert files(run) == before
    assert here("train", "--resume", str(run))[0] == 0
