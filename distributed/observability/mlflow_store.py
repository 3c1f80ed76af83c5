"""MLflow's stores: where they are, and a client of which no call takes longer than its deadline."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from distributed.infra.deadline import within
from distributed.infra.passwords import without_secrets
from distributed.infra.paths import lasting

DATABASE = "mlflow.db"
SQLITE = "sqlite:///"
OPEN_S = 60.0
"""Seconds in which a store has to open: a new database gets its tables then."""
CALL_S = 15.0
"""Seconds that a call may take. A server's answer is waited for 5, see `open_client`."""
UPLOAD_S = 120.0
"""Seconds that sending files may take."""
MOST_PARAMS = 100
"""Params that MLflow takes in one call."""
MAX_VALUE = 6000
"""Characters of a param."""
PAUSE_S = 30.0
"""A store that has failed is left alone for this long; twice as long each time, up to MAX_PAUSE_S."""
MAX_PAUSE_S = 480.0


def store_uri(uri: str | None) -> str:
    """Returns the store: the one that is given, else MLFLOW_TRACKING_URI, else a local database.

    The path of a database that is a file becomes absolute, so that it is the same one from everywhere.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{DATABASE}"
    path = uri.removeprefix(SQLITE)
    return f"{SQLITE}{lasting(path)}" if path and path != uri else uri


def shown(uri: str) -> str:
    """A store's address as it may be printed: without the name and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def database_file(uri: str) -> Path | None:
    """The file of a local database, None for other stores."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


class StoreClient:
    """An `mlflow.MlflowClient` of one store: the same methods, each with a deadline.

    A method raises TimeoutError when its deadline passes, and else as MLflow's own.
    """

    def __init__(self, uri: str, client: Any) -> None:
        self._client = client
        self._file = database_file(uri)
        self._identity = self._present()

    def __getattr__(self, name: str) -> Any:
        seconds = UPLOAD_S if "artifact" in name else CALL_S
        method = getattr(self._client, name)
        return lambda *args, **kwargs: within(seconds, partial(method, *args, **kwargs))

    def has_moved(self) -> bool:
        """Whether a local database is no longer the file that was opened; MLflow alone would not see that."""
        return self._present() != self._identity

    def make_anew(self) -> None:
        """Makes a local database where the one was that is gone, and goes on with it."""
        from mlflow.store.db.utils import _safe_initialize_tables

        def make() -> None:
            # MLflow keeps one engine an address for as long as the process lives.
            engine = self._client._tracking_client.store.engine
            engine.dispose()
            _safe_initialize_tables(engine)

        within(OPEN_S, make)
        self._identity = self._present()

    def _present(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat() if self._file else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found else None


def open_client(uri: str) -> StoreClient:
    """Connects to a store, quietly and without long waits. MLflow is imported here, as that takes seconds.

    Raises:
        TimeoutError: the store does not open in time.
        Exception: whatever MLflow raises for an address that it does not take or a database that it cannot open.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow.store.db.utils as databases
    from mlflow import MlflowClient

    # MLflow tries ten times to open a database, which takes 101 s where it cannot be opened.
    databases.MAX_RETRY_COUNT = 1
    # After the import, which sets levels of its own.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Errors of a database are raised too; here they would come with a trace.
    logging.getLogger(databases.__name__).setLevel(logging.CRITICAL)
    client = within(OPEN_S, partial(MlflowClient, uri))
    return StoreClient(uri, client)


class Pauses:
    """How long a store that has failed is left alone, since each try can cost seconds.

    By store, and not by tracker: a search has a tracker for each member.
    """

    def __init__(self) -> None:
        self._lengths: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}

    def since_failure(self, uri: str) -> float:
        """Seconds since the store failed last; infinite where it answered after that."""
        return time.monotonic() - self._failed_at.get(uri, -math.inf)

    def is_over(self, uri: str) -> bool:
        """Whether the store may be tried."""
        return self.since_failure(uri) >= self._lengths.get(uri, 0.0)

    def failed(self, uri: str) -> bool:
        """Notes a failure; returns whether it is the first in a row."""
        before = self._lengths.get(uri)
        self._lengths[uri] = PAUSE_S if before is None else min(MAX_PAUSE_S, 2 * before)
        self._failed_at[uri] = time.monotonic()
        return before is None

    def answered(self, uri: str) -> None:
        """Notes that the store is there."""
        self._lengths.pop(uri, None)
        self._failed_at.pop(uri, None)


def experiment_id(client: Any, uri: str, experiment: str) -> str:
    """The experiment's id, made if it is not there.

    Beside a local database its artifacts lie, whatever directory the run is started in.

    Raises:
        ValueError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None:
        file = database_file(uri)
        location = (file.resolve().parent / "mlruns").as_uri() if file else None
        try:
            return client.create_experiment(experiment, artifact_location=location)
        except MlflowException:  # another trial was faster
            if (found := client.get_experiment_by_name(experiment)) is None:
                raise
    if found.lifecycle_stage == "deleted":
        again = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        raise ValueError(f"the experiment {experiment!r} was deleted; `{again}`, or name another tracking.experiment")
    return found.experiment_id


def record_params(
    client: Any, run_id: str | None, params: Mapping[str, str], recorded: Mapping[str, str]
) -> dict[str, str]:
    """Records the params that a run does not have yet; MLflow refuses to change one that is there.

    Returns:
        Those of the params that differ from what is recorded.
    """
    from mlflow.entities import Param

    new = [Param(name, value) for name, value in params.items() if name not in recorded]
    for start in range(0, len(new), MOST_PARAMS):
        client.log_batch(run_id, params=new[start : start + MOST_PARAMS])
    return {name: value for name, value in params.items() if recorded.get(name, value) != value}


def in_short(error: BaseException) -> str:
    """What an error of MLflow's comes down to, in one line: the innermost cause of a connection that failed."""
    if isinstance(error, TimeoutError):
        return str(error) or "no answer"
    text = str(error).strip() or type(error).__name__
    if "timed out" in text or "Max retries exceeded" in text:
        cause = re.findall(r"\[Errno -?\d+\] ([^'\")\]]+)|(Name or service not known)|(timed out)", text)
        return next((part for part in reversed(cause[-1]) if part), "no answer").strip() if cause else "no answer"
    lines = [line.strip() for line in text.splitlines() if not line.startswith("(raised as a result of")]
    first = re.sub(r"^\([\w.]+\) ", "", (lines or [text])[0])
    return first if len(first) <= 200 else f"{first[:200].rpartition(' ')[0]} ..."


def is_gone(error: BaseException) -> bool:
    """Whether an error says that a run is not in its store, or was deleted there: waiting does not bring it back."""
    # Some other server that answers 404 knows of no run at all.
    missing = getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
    if missing and re.search(r"\brun\b.* not found", str(error), re.IGNORECASE):
        return True
    return re.search(r"\brun \w+ must be in the 'active' state", str(error), re.IGNORECASE) is not None


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turns a nested mapping into ``section.key`` to text; lists and what else is no text become JSON."""
    flat: dict[str, str] = {}
    for key, value in without_secrets(config).items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[f"{prefix}{key}"] = text[:MAX_VALUE]
    return flat


def clean_name(name: str) -> str:
    """Replaces what MLflow takes in no name: ``bumpy(amplitude=4,seed=3)`` becomes ``bumpy_amplitude_4_seed_3``."""
    parts = (re.sub(r"[^\w\-. :]+", "_", part, flags=re.ASCII).strip("_. ") for part in name.split("/"))
    return "/".join(part for part in parts if part)[:240] or "unnamed"


class MetricNames:
    """Names of metrics as MLflow takes them, a different one for every different metric."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def of(self, raw: str) -> str:
        """The name of a metric, always the same for the same one."""
        name = clean_name(raw)
        if self._taken.setdefault(name, raw) != raw:
            name = f"{name}_{hashlib.sha256(raw.encode()).hexdigest()[:6]}"
        return name
