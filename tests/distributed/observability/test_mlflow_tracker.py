"""What a run says of itself reaches MLflow, and MLflow's faults do not reach the run."""

from __future__ import annotations

import math
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from distributed.errors import UserError
from distributed.export.registry import Registry
from distributed.infra.paths import HOME_VARIABLE, JOB_VARIABLE
from distributed.jobs.track import send_untracked
from distributed.observability import mlflow_store
from distributed.observability import mlflow_tracker as tracking
from distributed.observability.console import make_console
from distributed.observability.mlflow_store import flatten, store_uri
from distributed.observability.mlflow_tracker import MlflowTracker, open_tracker
from distributed.observability.tracker import Tracker
from distributed.observability.untracked import UNTRACKED
from tests.distributed.finished_runs import main_exit as run_command

pytestmark = pytest.mark.timeout(120)
CONFIG = {"train": {"seed": 7, "tags": ["a", "b"], "run_name": None}, "method": {"name": "ppoconfig", "gamma": 1.0}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a database of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def run_of(tracker: Tracker) -> str:
    """The run's id, which an open tracker has."""
    assert tracker.run_id is not None
    return tracker.run_id


def history(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    """(step, value) pairs of a metric."""
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def test_config_metrics_tags_and_artifacts_are_recorded(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("<html>")
    (tmp_path / "champions").mkdir()
    (tmp_path / "champions" / "flat.py").write_text("import math\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with open_tracker("mlflow", "walkers", CONFIG, run_name="first", tags={"kind": "test"}) as tracker:
        for step in range(3):
            tracker.log({"reward/mean": step / 2, "loss": math.nan}, step)
        tracker.tag("lr", "0.1")
        tracker.artifact(tmp_path / "report.html")
        tracker.artifact(tmp_path / "champions", "best")
    assert tracker.failures == 0 and tracker.lost == 0
    client = MlflowClient(store)
    run = client.get_run(run_of(tracker))
    expected = {"train.seed": "7", "train.tags": '["a", "b"]', "train.run_name": "null"}
    assert run.data.params == {**expected, "method.name": "ppoconfig", "method.gamma": "1.0"}
    assert history(client, run_of(tracker), "reward/mean") == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert len(history(client, run_of(tracker), "loss")) == 3
    assert run.data.tags["kind"] == "test" and run.data.tags["lr"] == "0.1"
    assert run.info.run_name == "first" and run.info.status == "FINISHED"
    assert {entry.path for entry in client.list_artifacts(run_of(tracker))} == {"report.html", "best"}
    database = Path(store.removeprefix("sqlite:///"))
    assert (database.parent / "mlruns" / run_of(tracker) / "artifacts" / "best" / "flat.py").is_file()


def test_thousands_of_terrains_get_a_metric_each(store: str) -> None:
    terrains = [f"bumpy(amplitude={amplitude},seed={seed})" for amplitude in range(4) for seed in range(300)]
    alike = ["gap(width=1,seed=2)", "gap(width=1,seed=(2))", "gap/(width=1)/seed=2"]
    with MlflowTracker("walkers", {}, uri=store) as tracker:
        tracker.log({f"fitness/{name}": float(index) for index, name in enumerate(terrains + alike)}, 1)
    assert tracker.failures == 0
    metrics = MlflowClient(store).get_run(run_of(tracker)).data.metrics
    assert metrics["fitness/bumpy_amplitude_3_seed_299"] == 1199.0
    assert sorted(metrics.values()) == [float(index) for index in range(1203)]


def test_run_that_is_continued_keeps_its_params_and_tags_what_changed(store: str) -> None:
    with pytest.raises(KeyboardInterrupt), MlflowTracker("walkers", CONFIG, uri=store) as first:
        first.log({"reward/mean": 1.0}, 1)
        raise KeyboardInterrupt
    client = MlflowClient(store)
    assert client.get_run(run_of(first)).info.status == "KILLED"
    config = {"train": {"seed": 8, "total_steps": 5}, "method": CONFIG["method"]}
    with MlflowTracker("walkers", config, uri=store, run_id=first.run_id) as second:
        second.log({"reward/mean": 2.0}, 2)
    run = client.get_run(run_of(first))
    assert second.failures == 0 and run.info.status == "FINISHED"
    assert run.data.params["train.seed"] == "7" and run.data.params["train.total_steps"] == "5"
    assert run.data.tags["changed.train.seed"] == "8"
    assert history(client, run_of(first), "reward/mean") == [(1, 1.0), (2, 2.0)]


def test_nested_run_names_its_parent_and_an_exception_fails_it(store: str) -> None:
    parent = MlflowTracker("walkers", {}, uri=store)
    with (
        pytest.raises(ZeroDivisionError),
        MlflowTracker("walkers", {}, uri=store, parent_run_id=parent.run_id) as child,
    ):
        raise ZeroDivisionError
    run = MlflowClient(store).get_run(run_of(child))
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id and run.info.status == "FAILED"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no test wait for a store that has failed in another."""
    monkeypatch.setattr(tracking, "_pauses", mlflow_store.Pauses())


@pytest.fixture
def nowhere() -> str:
    """Address of a server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The project's warnings."""
    return [record.getMessage() for record in caplog.records if record.name == "terraprompt"]


def test_what_an_unreachable_server_misses_is_kept_and_sent_by_a_command(
    store: str, nowhere: str, caplog: pytest.LogCaptureFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").write_text("<html>")
    kept = tmp_path / UNTRACKED
    options = {"run_name": "lonely", "tags": {"kind": "test"}, "keep": kept}
    with MlflowTracker("walkers", CONFIG, uri=nowhere, **options) as tracker:  # type: ignore[arg-type]
        for step in range(100):
            tracker.log({"reward/mean": step / 2, "loss": math.nan}, step)
        tracker.tag("lr", "0.1")
        tracker.artifact(tmp_path / "report.html")
        assert tracker.address is None
    assert tracker.lost == 0
    assert said(caplog) == [
        f"MLflow at {nowhere} fails, and the run goes on without it; what it records waits in {kept}: "
        "Connection refused",
        f"MLflow at {nowhere}: 200 metrics, 1 tags and 1 files are not recorded and wait in {kept}; to send them: "
        f"terraprompt track {tmp_path}",
    ]
    assert run_command("track", str(tmp_path)) == 2
    assert capsys.readouterr().err == f"terraprompt: MLflow at {nowhere}: Connection refused\n"
    assert run_command("track", str(tmp_path), "--uri", store) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"200 metrics, 1 tags and 1 files sent to {store}, run ")
    client, run_id = MlflowClient(store), told.split()[-1]
    run = client.get_run(run_id)
    assert run.info.run_name == "lonely" and run.info.status == "FINISHED"
    assert run.data.params["train.seed"] == "7"
    assert run.data.tags["kind"] == "test" and run.data.tags["lr"] == "0.1"
    assert history(client, run_id, "reward/mean") == [(step, step / 2) for step in range(100)]
    assert len(history(client, run_id, "loss")) == 100
    assert [entry.path for entry in client.list_artifacts(run_id)] == ["report.html"]
    assert run_command("track", str(tmp_path)) == 0
    assert capsys.readouterr().out == f"nothing waits in {tmp_path}\n"


def test_what_was_not_recorded_is_sent_when_the_run_goes_on(store: str, nowhere: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), MlflowTracker("walkers", {}, uri=nowhere, keep=tmp_path / UNTRACKED) as one:
        one.log({"loss": 1.0}, 1)
        raise KeyboardInterrupt
    with MlflowTracker("walkers", {}, uri=store, keep=tmp_path / UNTRACKED) as two:
        two.log({"loss": 2.0}, 2)
    client = MlflowClient(store)
    assert history(client, run_of(two), "loss") == [(1, 1.0), (2, 2.0)]
    assert client.get_run(run_of(two)).info.status == "FINISHED"
    # The checkpoint knew of no MLflow run; the folder does.
    assert MlflowTracker("walkers", {}, uri=store, keep=tmp_path / UNTRACKED).run_id == two.run_id


def test_database_that_cannot_be_opened_is_one_clear_line_and_no_wait(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no database, " * 100)
    began = time.monotonic()
    for name, reason in (("", "unable to open database file"), ("text", "file is not a database")):
        caplog.clear()
        uri = f"sqlite:///{tmp_path / name}"
        with MlflowTracker("walkers", {}, uri=uri, keep=tmp_path / UNTRACKED) as tracker:
            tracker.log({"loss": 1.0}, 1)
        assert said(caplog)[0].endswith(f"waits in {tmp_path / UNTRACKED}: {reason}") and tracker.address is None
        with pytest.raises(UserError, match=f"^MLflow at {uri}: {reason}$"):
            Registry(uri).champion("softprompt.tunnel")
    assert time.monotonic() - began < 60  # each try of MLflow's own takes 101 s


def test_server_that_says_nothing_is_left_at_the_deadline(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1000")
    monkeypatch.setattr(mlflow_store, "CALL_S", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with MlflowTracker("walkers", {}, uri=uri, keep=tmp_path / UNTRACKED) as tracker:
            tracker.log({"loss": 1.0}, 1)
        with pytest.raises(UserError, match=r"no answer within 0.5 s$"):
            Registry(uri).champion("softprompt.tunnel")
    assert said(caplog)[0].endswith("no answer within 0.5 s") and tracker.failures == 1 and tracker.lost == 0


def test_run_that_is_deleted_goes_on_in_a_new_one_and_what_is_lost_is_said(
    store: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    client = MlflowClient(store)
    with MlflowTracker("walkers", CONFIG, uri=store, tags={"kind": "test"}, keep=tmp_path / UNTRACKED) as tracker:
        tracker.log({"loss": 1.0, "reward": 2.0}, 1)
        gone = run_of(tracker)
        client.delete_run(gone)
        tracker.log({"loss": 2.0}, 2)
        tracker.log({"loss": 3.0}, 3)
    run = client.get_run(run_of(tracker))
    assert tracker.run_id != gone and run.info.status == "FINISHED" and run.data.params["train.seed"] == "7"
    assert run.data.tags["continues"] == gone and run.data.tags["kind"] == "test"
    assert history(client, run_of(tracker), "loss") == [(2, 2.0), (3, 3.0)]
    assert tracker.lost == 2 and not len(tracker.waiting)
    assert said(caplog)[0].startswith(f"MLflow at {store}: run {gone} is gone, a new one takes its place: The run")
    assert said(caplog)[1:] == [
        f"MLflow at {store}: what run {gone} held is gone; what came later is in run {tracker.run_id}",
        f"MLflow at {store}: 2 metrics, tags and files of this process are lost",
    ]


@pytest.mark.parametrize("how", ["deleted", "elsewhere"])
def test_run_that_is_gone_when_it_is_continued_is_recorded_anew(
    store: str, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    gone = "0" * 32
    if how == "deleted":
        gone = run_of(MlflowTracker("walkers", {}, uri=store))
        MlflowClient(store).delete_run(gone)
    with MlflowTracker("walkers", {}, uri=store, run_id=gone) as tracker:
        tracker.log({"loss": 3.0}, 3)
    assert tracker.run_id != gone and tracker.failures == 0 and tracker.lost == 0
    assert history(MlflowClient(store), run_of(tracker), "loss") == [(3, 3.0)]
    assert f"run {gone} is gone" in said(caplog)[0] and run_of(tracker) in said(caplog)[-1]


@pytest.mark.slow
def test_database_that_is_moved_is_made_anew(
    empty_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    uri = f"sqlite:///{file}"
    with MlflowTracker("walkers", {}, uri=uri) as tracker:
        tracker.log({"loss": 1.0}, 1)
        gone = run_of(tracker)
        file.rename(tmp_path / "moved.db")
        tracker.log({"loss": 2.0}, 2)
    assert tracker.run_id != gone and tracker.lost == 1 and tracker.failures == 0
    assert f"run {gone} is gone, a new one takes its place: its database is not where it was" in said(caplog)[0]
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT run_uuid, step, value FROM metrics").fetchall() == [(tracker.run_id, 2, 2.0)]


def test_experiment_that_was_deleted_is_named_with_the_way_to_restore_it(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = MlflowClient(store)
    number = client.create_experiment("forgotten")
    client.delete_experiment(number)
    tracker = MlflowTracker("forgotten", {}, uri=store)
    assert "'forgotten' was deleted; `mlflow experiments restore --experiment-id" in said(caplog)[0]
    client.restore_experiment(number)
    tracker.log({"loss": 1.0}, 1)
    tracker.close()
    assert tracker.lost == 1


def test_passwords_of_an_address_are_neither_said_nor_kept(
    nowhere: str, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = nowhere.replace("//", "//someone:secret@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with MlflowTracker("walkers", {}, keep=tmp_path / UNTRACKED) as tracker:
        tracker.log({"loss": 1.0}, 1)
    assert len(said(caplog)) == 2 and "***@127.0.0.1" in said(caplog)[0]
    assert "secret" not in caplog.text and "secret" not in (tmp_path / UNTRACKED).read_text()


def test_damaged_file_of_what_waits_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / UNTRACKED).write_text('{"run": {"id": nu\n{"metric": "loss", "value": 1.0, "at": 1, "step": 1}\n')
    assert run_command("track", str(tmp_path)) == 2
    assert "does not say which run it is of" in capsys.readouterr().err
    assert run_command("track", str(tmp_path / "nothing")) == 2
    assert capsys.readouterr().err == f"terraprompt: there is no run {str(tmp_path / 'nothing')!r}\n"


def test_store_that_comes_back_misses_no_metric(
    store: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_store, "PAUSE_S", 0.2)
    tracker = MlflowTracker("walkers", {}, uri=store)
    tracker.log({"loss": 0.0}, 0)
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as database:
        database.execute("ALTER TABLE metrics RENAME TO away")
        tracker.log({"loss": 1.0}, 1)
        tracker.log({"loss": 2.0}, 2)
        database.execute("ALTER TABLE away RENAME TO metrics")
    assert tracker.failures == 1 and caplog.text.count("MLflow at") == 1
    time.sleep(0.25)
    tracker.log({"loss": 3.0}, 3)
    assert history(MlflowClient(store), run_of(tracker), "loss") == [(step, float(step)) for step in range(4)]
    assert tracker.lost == 0


def test_no_tracker_takes_everything_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_tracker(None, "walkers", CONFIG) as tracker:
        tracker.log({"loss": 1.0}, 1)
        tracker.tag("a", "b")
        tracker.artifact(tmp_path)
    assert type(tracker) is Tracker and list(tmp_path.iterdir()) == []


def test_unknown_tracker_is_refused() -> None:
    with pytest.raises(ValueError, match="tracker is 'mlflow' or null, not 'abacus'"):
        open_tracker("abacus", "walkers", CONFIG)


def test_flatten_writes_every_leaf_as_text() -> None:
    config = {"a": {"b": {"c": 1}, "d": {}}, "path": Path("/x"), "text": "as it is", "long": "y" * 9000}
    assert flatten(config) == {"a.b.c": "1", "a.d": "{}", "path": '"/x"', "text": "as it is", "long": "y" * 6000}


def test_a_database_named_by_a_relative_path_outlives_a_jobs_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert store_uri(None) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv(JOB_VARIABLE, "{}")
    monkeypatch.setenv("HOME", "/home/someone")
    assert store_uri(None) == "sqlite:////home/someone/terraprompt/mlflow.db"
    monkeypatch.setenv(HOME_VARIABLE, "/shared")
    assert store_uri(None) == "sqlite:////shared/mlflow.db"
    assert store_uri("sqlite:///db/runs.db") == "sqlite:////shared/db/runs.db"
    assert store_uri("sqlite:////data/runs.db") == "sqlite:////data/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert store_uri(None) == "http://127.0.0.1:5000"


@pytest.mark.parametrize("damage", ["directory", "no line"])
def test_what_waits_in_a_damaged_file_is_not_said_to_be_nothing(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "untracked.jsonl"
    if damage == "directory":
        file.mkdir()
    else:
        file.write_text("{not a line\n")
    with pytest.raises(UserError, match="untracked.jsonl' does not say which run it is of"):
        send_untracked(tmp_path, None, make_console())
