"""What a run says of itself reaches MLflow, and MLflow's faults do not reach the run."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from distributed import mlflow_store
from distributed.mlflow_store import flatten, store_uri
from distributed.places import HOME_VARIABLE, JOB_VARIABLE
from distributed.tracking import MlflowTracker, NullTracker, open_tracker

pytestmark = pytest.mark.timeout(120)
CONFIG = {"train": {"seed": 7, "tags": ["a", "b"], "run_name": None}, "method": {"name": "ppoconfig", "gamma": 1.0}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a database of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def run_of(tracker: NullTracker) -> str:
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


def test_unreachable_server_is_one_warning_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "terraprompt"):
        with MlflowTracker("walkers", CONFIG, uri="http://127.0.0.1:9") as tracker:
            for step in range(100):
                tracker.log({"reward/mean": 1.0, "loss": 2.0}, step)
            tracker.artifact(tmp_path)
    assert time.monotonic() - began < 20
    warnings = [record.getMessage() for record in caplog.records if record.name == "terraprompt"]
    assert len(warnings) == 1 and warnings[0].startswith("MLflow at http://127.0.0.1:9 fails")
    assert tracker.failures >= 2 and tracker.lost == 201


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
    assert type(tracker) is NullTracker and list(tmp_path.iterdir()) == []


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
