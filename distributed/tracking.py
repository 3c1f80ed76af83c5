"""Records a run in MLflow, and lets the run go on when MLflow does not."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from distributed.places import lasting

logger = logging.getLogger("terraprompt")

DATABASE = "mlflow.db"
SQLITE = "sqlite:///"
PAUSE_S = 30.0  # a store that has failed is left alone for so long: an unreachable server costs seconds a call
BATCH = {"metrics": 1000, "params": 100}  # what MLflow takes in one call
MAX_VALUE = 6000  # characters of a param
MAX_PENDING = 200_000  # metrics kept for a store that is away


class NullTracker:
    """Records nothing; what ``tracker: null`` gives. Every tracker has these methods.

    Attributes:
        run_id: the run's id in its store, None where there is none.
        failures: calls to the store that failed.
        lost: metrics and artifacts that will never be recorded.
    """

    run_id: str | None = None

    def __init__(self) -> None:
        self.failures = self.lost = 0

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Records the metrics of one step. Names may hold terrains, as in ``fitness/bumpy(amplitude=4,seed=3)``."""

    def tag(self, name: str, value: str) -> None:
        """Sets a tag; setting it again replaces it. The place for what moves, which a param cannot."""

    def artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Records a file, or a directory with all in it, under ``folder``."""

    def close(self, status: str = "FINISHED") -> None:
        """Ends the run as FINISHED, FAILED or KILLED. Safe to call twice."""

    def __enter__(self) -> NullTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the run; an exception makes it FAILED, an interrupt or an exit KILLED."""
        if kind is None:
            self.close()
        else:
            self.close("FAILED" if issubclass(kind, Exception) else "KILLED")


class MlflowTracker(NullTracker):
    """Records one MLflow run.

    Nothing here raises for a fault of the store: the first is a warning, all are counted, and metrics wait for the
    store to come back.
    """

    def __init__(
        self,
        experiment: str,
        config: Mapping[str, Any],
        *,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
        run_id: str | None = None,
        uri: str | None = None,
    ) -> None:
        """Opens a run.

        Args:
            experiment: name of the experiment, made if it is not there.
            config: the run's configuration, nested; recorded as params ``section.key``.
            run_name: name of the run; MLflow makes one up for None.
            tags: tags of the run.
            parent_run_id: the run that this one is nested in.
            run_id: a run to continue; params that differ from those it has become tags ``changed.section.key``.
            uri: the store; MLFLOW_TRACKING_URI, or a local database, for None.
        """
        super().__init__()
        self.run_id = run_id
        self._experiment, self._run_name = experiment, run_name
        self._params = {_clean(key): value for key, value in flatten(config).items()}
        self._tags = {**(tags or {}), **({"mlflow.parentRunId": parent_run_id} if parent_run_id else {})}
        self._uri = store_uri(uri)
        self._client: Any = None
        self._pending: deque[tuple[str, float, int, int]] = deque()
        self._names: dict[str, str] = {}
        self._silent_until = 0.0
        self._closed = False
        self._attempt(lambda: None)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Records the metrics of one step in one call, with those that could not be recorded before."""
        now = time.time_ns() // 1_000_000
        self._pending.extend((self._name(name), float(value), now, step) for name, value in metrics.items())
        while len(self._pending) > MAX_PENDING:
            self._pending.popleft()
            self.lost += 1
        self._attempt(self._flush)

    def tag(self, name: str, value: str) -> None:
        """Sets a tag; see NullTracker."""
        self._tags[name] = value
        self._attempt(lambda: self._client.set_tag(self.run_id, name, value))

    def artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Records a file or a directory; see NullTracker."""
        send = "log_artifacts" if Path(path).is_dir() else "log_artifact"
        if not self._attempt(lambda: getattr(self._client, send)(self.run_id, str(path), folder)):
            self.lost += 1

    def close(self, status: str = "FINISHED") -> None:
        """Records what waits and ends the run; see NullTracker."""
        if self._closed:
            return
        self._closed = True
        self._silent_until = 0.0
        self._attempt(self._flush)
        self._attempt(lambda: self._client.set_terminated(self.run_id, status))
        self.lost += len(self._pending)
        self._pending.clear()

    def _attempt(self, action: Callable[[], object]) -> bool:
        """Opens the run if it is not open, and does something with it. Returns whether that worked."""
        if time.monotonic() < self._silent_until:
            return False
        try:
            if self._client is None:
                self._client = self._open()
            action()
            return True
        except Exception as error:
            if not self.failures:
                cause = (str(error).splitlines() or [""])[0][:300]
                message = "MLflow at %s fails, and the run goes on without it; metrics wait for it to come back: %s: %s"
                logger.warning(message, self._uri, type(error).__name__, cause)
            self.failures += 1
            self._silent_until = time.monotonic() + PAUSE_S
            return False

    def _open(self) -> Any:
        """Connects to the store and opens the run."""
        client = open_client(self._uri)
        recorded: Mapping[str, str] = {}
        if self.run_id is None:
            run = client.create_run(
                experiment_id(client, self._uri, self._experiment), tags=self._tags, run_name=self._run_name
            )
            self.run_id = run.info.run_id
        else:
            recorded = client.get_run(self.run_id).data.params
            client.update_run(self.run_id, status="RUNNING")
        self._record_params(client, recorded)
        for name, value in self._tags.items():
            client.set_tag(self.run_id, name, value)
        return client

    def _record_params(self, client: Any, recorded: Mapping[str, str]) -> None:
        """Records the params that are not there yet; MLflow refuses to change one that is."""
        from mlflow.entities import Param

        new = [Param(name, value) for name, value in self._params.items() if name not in recorded]
        for start in range(0, len(new), BATCH["params"]):
            client.log_batch(self.run_id, params=new[start : start + BATCH["params"]])
        changed = {name: value for name, value in self._params.items() if recorded.get(name, value) != value}
        self._tags.update({f"changed.{name}": value for name, value in changed.items()})

    def _flush(self) -> None:
        """Sends the metrics that wait."""
        from mlflow.entities import Metric

        while self._pending:
            batch = [Metric(*self._pending[index]) for index in range(min(len(self._pending), BATCH["metrics"]))]
            self._client.log_batch(self.run_id, metrics=batch)
            for _ in batch:
                self._pending.popleft()

    def _name(self, raw: str) -> str:
        """A name that MLflow takes, and a different one for every different metric."""
        name = _clean(raw)
        if self._names.setdefault(name, raw) != raw:
            name = f"{name}_{hashlib.sha256(raw.encode()).hexdigest()[:6]}"
        return name


def open_tracker(kind: str | None, experiment: str, config: Mapping[str, Any], **options: Any) -> NullTracker:
    """Opens the tracker that the configuration names.

    Args:
        kind: ``mlflow``, or None for a tracker that records nothing.
        experiment: name of the experiment.
        config: the run's configuration.
        options: see MlflowTracker.

    Raises:
        ValueError: there is no such tracker.
    """
    if kind is None:
        return NullTracker()
    if kind == "mlflow":
        return MlflowTracker(experiment, config, **options)
    raise ValueError(f"tracker is 'mlflow' or null, not {kind!r}")


def store_uri(uri: str | None) -> str:
    """Returns the store: the one that is given, else MLFLOW_TRACKING_URI, else a local database.

    The path of a database that is a file becomes absolute, so that it is the same one from everywhere.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{DATABASE}"
    path = uri.removeprefix(SQLITE)
    return f"{SQLITE}{lasting(path)}" if path and path != uri else uri


def open_client(uri: str) -> Any:
    """Connects to a store, quietly and without long waits. MLflow takes seconds to import, so only who uses it does."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    # After the import, which sets levels of its own.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(uri)


def experiment_id(client: Any, uri: str, experiment: str) -> str:
    """The experiment's id, made if it is not there.

    Beside a local database its artifacts lie, whatever directory the run is started in.
    """
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(experiment)) is not None:
        return found.experiment_id
    location = None
    if uri.startswith(SQLITE):
        location = (Path(uri.removeprefix(SQLITE)).resolve().parent / "mlruns").as_uri()
    try:
        return client.create_experiment(experiment, artifact_location=location)
    except MlflowException:  # another trial was faster
        if (found := client.get_experiment_by_name(experiment)) is None:
            raise
        return found.experiment_id


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turns a nested mapping into ``section.key`` to text; lists and what else is no text become JSON."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[f"{prefix}{key}"] = text[:MAX_VALUE]
    return flat


def _clean(name: str) -> str:
    """Replaces what MLflow takes in no name: ``bumpy(amplitude=4,seed=3)`` becomes ``bumpy_amplitude_4_seed_3``."""
    parts = (re.sub(r"[^\w\-. :]+", "_", part, flags=re.ASCII).strip("_. ") for part in name.split("/"))
    return "/".join(part for part in parts if part)[:240] or "unnamed"
