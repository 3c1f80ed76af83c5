"""Records a run in MLflow, and lets the run go on when MLflow does not."""

from __future__ import annotations

import itertools
import logging
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from distributed.observability.mlflow_store import (
    MetricNames,
    Pauses,
    clean_name,
    database_file,
    experiment_id,
    flatten,
    in_short,
    is_gone,
    open_client,
    record_params,
    shown,
    store_uri,
)
from distributed.observability.tracker import Tracker
from distributed.observability.untracked import Entry, Untracked, send_entries

logger = logging.getLogger("terraprompt")

LAST_TRY_S = 5.0
"""At a run's end a store is tried once more, unless it has failed within so many seconds."""

_pauses = Pauses()


class MlflowTracker(Tracker):
    """Records one MLflow run.

    Nothing here raises for a fault of the store, or waits long for it. What cannot be recorded is kept in a file, is
    sent when the store answers again, and `terraprompt track` sends what is left. A run that is gone from its store,
    because it was deleted or its database moved, is recorded anew from there on.
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
        keep: Path | None = None,
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
            keep: file for what cannot be recorded; what an earlier process left there is sent first. None keeps it in
                memory until `close`.
        """
        super().__init__()
        self._params = {clean_name(key): value for key, value in flatten(config).items()}
        self._tags = {**(tags or {}), **({"mlflow.parentRunId": parent_run_id} if parent_run_id else {})}
        self._experiment, self._run_name = experiment, run_name
        self._uri, self._asked_uri = store_uri(uri), uri
        self.waiting = Untracked(keep)
        self.run_id = self.waiting.run.get("id") or run_id
        self.trouble = ""
        self._home = keep.absolute().parent if keep else Path.cwd()
        self._client: Any = None
        self._recorded = 0
        self._gone: list[str] = []
        self._names = MetricNames()
        self._closed = False
        self._record([])

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Records the metrics of one step in one call, with those that could not be recorded before."""
        now = time.time_ns() // 1_000_000
        self._record(
            {"metric": self._names.of(name), "value": float(value), "at": now, "step": step}
            for name, value in metrics.items()
        )

    def tag(self, name: str, value: str) -> None:
        """Sets a tag; see Tracker."""
        self._tags[name] = value
        self._record([{"tag": name, "value": value}])

    def artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Records a file or a directory; see Tracker."""
        path = Path(path).absolute()
        inside = path.relative_to(self._home) if path.is_relative_to(self._home) else path
        self._record([{"artifact": str(inside), "folder": folder}])

    @property
    def address(self) -> str | None:
        """The store's address as a person opens it, None where it has not answered."""
        return self._uri if self._client is not None else None

    def close(self, status: str = "FINISHED") -> None:
        """Records what waits, ends the run and says what is not recorded; see Tracker."""
        if self._closed:
            return
        self._closed = True
        late = _pauses.since_failure(self._uri) > LAST_TRY_S
        self._record([], at_once=late)
        if len(self.waiting) or not self._attempt(lambda: self._client.set_terminated(self.run_id, status)):
            self.waiting.add([{"status": status}], self._how_to_open())
        self.lost += self.waiting.lost + (len(self.waiting) if self.waiting.path is None else 0)
        self._tell()

    def _tell(self) -> None:
        """Says at the end what is not recorded."""
        where = shown(self._uri)
        if self.waiting.path is not None and len(self.waiting):
            logger.warning(
                "MLflow at %s: %s are not recorded and wait in %s; to send them: terraprompt track %s",
                *(where, self.waiting.in_words(), self.waiting.path, shlex.quote(str(self._home))),
            )
        if self._gone:
            gone = f"what run {' and '.join(self._gone)} held is gone; what came later is in run {self.run_id}"
            logger.warning("MLflow at %s: %s", where, gone)
        if self.lost:
            logger.warning("MLflow at %s: %d metrics, tags and files of this process are lost", where, self.lost)

    def _record(self, entries: Iterable[Entry], at_once: bool = False) -> None:
        """Records what waits and then these, or lets them wait."""
        entries, sent = list(entries), False
        try:
            sent = self._attempt(lambda: self._send(itertools.chain(self.waiting, entries)), at_once)
        finally:  # a signal may come while the store is waited for
            if sent and len(self.waiting):
                self.waiting.clear(self._how_to_open())
            elif not sent and entries:
                self.waiting.add(entries, self._how_to_open())

    def _attempt(self, action: Callable[[], object], at_once: bool = False) -> bool:
        """Opens the run if it is not open, and does something with it. Returns whether that worked.

        Args:
            action: what to do.
            at_once: also while a store that has failed is left alone.
        """
        if not (at_once or _pauses.is_over(self._uri)):
            return False
        try:
            try:
                self._act(action)
            except Exception as error:
                if self.run_id is None or not (is_gone(error) or self._moved):
                    raise
                self._begin_anew(error)
                self._act(action)
        except Exception as error:
            self.failures += 1
            self._leave_alone(error)
            return False
        _pauses.answered(self._uri)
        return True

    @property
    def _moved(self) -> bool:
        return self._client is not None and self._client.has_moved()

    def _act(self, action: Callable[[], object]) -> None:
        if self._client is None:
            self._client = self._open()
        elif self._moved:
            raise FileNotFoundError("its database is not where it was")
        action()

    def _begin_anew(self, error: Exception) -> None:
        """Forgets a run that is gone, and says what is lost with it."""
        reason = in_short(error)
        if self._moved:
            self._client.make_anew()
        logger.warning(
            "MLflow at %s: run %s is gone, a new one takes its place: %s", shown(self._uri), self.run_id, reason
        )
        self._gone.append(str(self.run_id))
        self.lost += self._recorded
        self._tags["continues"] = str(self.run_id)
        self.run_id, self._client, self._recorded = None, None, 0

    def _leave_alone(self, error: Exception) -> None:
        """Leaves a store that has failed alone for a while, longer each time, and says so the first time."""
        self.trouble = in_short(error)
        if _pauses.failed(self._uri):
            where = f" waits in {self.waiting.path}" if self.waiting.path else " waits"
            logger.warning(
                "MLflow at %s fails, and the run goes on without it; what it records%s: %s",
                *(shown(self._uri), where, self.trouble),
            )

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
        changed = record_params(client, self.run_id, self._params, recorded)
        self._tags.update({f"changed.{name}": value for name, value in changed.items()})
        for name, value in self._tags.items():
            client.set_tag(self.run_id, name, value)
        return client

    def _send(self, entries: Iterable[Entry]) -> None:
        assert self.run_id is not None
        sent, missing = send_entries(self._client, self.run_id, entries, self._home)
        self._recorded += sent
        self.lost += missing

    def _how_to_open(self) -> dict[str, Any]:
        """What another process needs to open this run."""
        # An address of the environment may hold a password, and is not written down.
        uri = self._uri if database_file(self._uri) else self._asked_uri
        return {
            "id": self.run_id,
            "experiment": self._experiment,
            "name": self._run_name,
            "uri": uri,
            "params": self._params,
            "tags": self._tags,
        }


def open_tracker(kind: str | None, experiment: str, config: Mapping[str, Any], **options: Any) -> Tracker:
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
        return Tracker()
    if kind == "mlflow":
        return MlflowTracker(experiment, config, **options)
    raise ValueError(f"tracker is 'mlflow' or null, not {kind!r}")
