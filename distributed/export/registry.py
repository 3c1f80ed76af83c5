"""Soft prompts in MLflow's model registry: their names, their versions, and which version is the champion."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.errors import UserError
from distributed.observability.mlflow_store import experiment_id, in_short, open_client, shown

PREFIX = "softprompt."
CHAMPION = "champion"
LONGEST = 200
ILLEGAL = re.compile(r"[^\w.,=()+ -]", re.ASCII)
"""Characters that no name may have: MLflow forbids "/" and ":", and others are special in ``models:/`` addresses."""

FITNESS, FINGERPRINT, DIGEST = "fitness", "terrain_fingerprint", "digest"
"""Tags of a version that are read again: its evaluation, the terrain's fingerprint, and a hash of the whole version."""


def registry_name(terrain: str) -> str:
    """Returns the registered model's name for a terrain, such as ``softprompt.bumpy(amplitude=4,seed=3)``.

    It is the terrain's own name where MLflow allows that; two terrains never share one.
    """
    name = ILLEGAL.sub("_", terrain)
    if name != terrain or len(name) > LONGEST:
        name = f"{name[:LONGEST]}_{hashlib.sha256(terrain.encode()).hexdigest()[:8]}"
    return PREFIX + name


def model_uri(terrain: str) -> str:
    """Returns the address of a terrain's champion, as ``mlflow.pyfunc.load_model`` takes it."""
    return f"models:/{registry_name(terrain)}@{CHAMPION}"


@dataclass(frozen=True)
class Champion:
    """The version that the alias points to.

    Attributes:
        version: its number.
        fitness: mean fitness it was registered with, None where it has no such tag.
        fingerprint: of the terrain it was scored on, None where it has no such tag.
    """

    version: str
    fitness: float | None
    fingerprint: str | None


@contextmanager
def default_store(uri: str) -> Iterator[None]:
    """Makes a store MLflow's global one for a while: MLflow looks up ``models:/`` addresses only there."""
    import mlflow

    variable = os.environ.get("MLFLOW_TRACKING_URI")
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        # MLflow sets and unsets the environment variable along with its own.
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable


class Registry:
    """The model registry of one MLflow store.

    Looking something up does not create a local database: one that does not exist counts as empty.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: Any = None

    def champion(self, name: str) -> Champion | None:
        """Returns the champion of a registered model, None where there is no model or no champion."""
        if self.is_new:
            return None
        with self._connected() as client:
            model = self._unless_missing(lambda: client.get_registered_model(name))
            if model is None or CHAMPION not in model.aliases:
                return None
            version = str(model.aliases[CHAMPION])
            tags = client.get_model_version(name, version).tags
        return Champion(version, _number(tags.get(FITNESS)), tags.get(FINGERPRINT))

    def find(self, name: str, digest: str) -> str | None:
        """Returns the version with this digest, None where there is none."""
        if self.is_new:
            return None
        with self._connected() as client:
            found = client.search_model_versions(f"name='{name}' and tags.{DIGEST}='{digest}'")
        return str(found[0].version) if found else None

    def names(self) -> list[str]:
        """Returns the names of all registered soft prompts."""
        names: list[str] = []
        token = None
        while not self.is_new:
            with self._connected() as client:
                page = client.search_registered_models(f"name LIKE '{PREFIX}%'", max_results=500, page_token=token)
            names += [model.name for model in page]
            if not (token := page.token):
                break
        return names

    def run(self, run_id: str | None) -> Any:
        """Returns MLflow's record of a run, None where the store has no such run."""
        if run_id is None or self.is_new:
            return None
        with self._connected() as client:
            return self._unless_missing(lambda: client.get_run(run_id))

    def experiment(self, name: str) -> str:
        """Returns the id of an experiment, made if it is not there."""
        with self._connected() as client:
            return experiment_id(client, self.uri, name)

    def new_model(self, experiment: str, run_id: str | None) -> str:
        """Opens a logged model, whose files come with `register`, and returns its id."""
        with self._connected() as client:
            return client.create_logged_model(experiment, name="softprompt", source_run_id=run_id).model_id

    def register(
        self, name: str, model_id: str, folder: Path, run_id: str | None, tags: Mapping[str, str], description: str
    ) -> str:
        """Uploads a model's folder and makes it the next version of a registered model; returns the version."""
        with self._connected() as client, default_store(self.uri):
            client.log_model_artifacts(model_id, str(folder))
            client.finalize_logged_model(model_id, "READY")
            if self._unless_missing(lambda: client.get_registered_model(name)) is None:
                client.create_registered_model(name, description=description)
            made = client.create_model_version(
                name, f"models:/{model_id}", run_id=run_id, tags=dict(tags), model_id=model_id
            )
            # MLflow's pages need this tag to link the model to its version.
            versions = json.dumps([{"name": name, "version": made.version}])
            client.set_logged_model_tags(model_id, {"mlflow.modelVersions": versions})
            return str(made.version)

    def set_champion(self, name: str, version: str) -> None:
        """Points the alias at a version."""
        with self._connected() as client:
            client.set_registered_model_alias(name, CHAMPION, version)

    @property
    def is_new(self) -> bool:
        """Whether the store is a local database that does not exist yet."""
        file = self.uri.removeprefix("sqlite:///")
        return file != self.uri and not Path(file).exists()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """The client; an error of MLflow's becomes a UserError of one line."""
        try:
            self._client = self._client or open_client(self.uri)
            yield self._client
        except Exception as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"MLflow at {shown(self.uri)}: {in_short(error)}") from error

    @staticmethod
    def _unless_missing(ask: Any) -> Any:
        """What ``ask`` returns, None where MLflow answers that it does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            return ask()
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
