"""One local Ray for all tests of this folder: starting it takes longer than most of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import ray

from distributed.infra.ray_cluster import connect_ray
from distributed.observability.mlflow_store import open_client
from softprompt.models.frozen import FrozenLM
from softprompt.pretrain.tokenizer import train_tokenizer
from tests.distributed.finished_runs import make_run, save_base
from tests.softprompt.conftest import VOCAB, tiny_model

# Ray runs workers at low priority, and another process of the tests would keep them from ever starting.
os.environ.setdefault("RAY_worker_niceness", "0")


@dataclass(frozen=True)
class LocalRay:
    """A ray section for tests."""

    address: str | None = "local"
    num_cpus: int | None = 2
    include_dashboard: bool = False


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Connects to a local Ray of two CPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        connect_ray(LocalRay())
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrozenLM, Path]:
    """A tiny random language model and the directory it lies in."""
    tokenizer = train_tokenizer(["import math\ndef f():\n    return 12\n"] * 3, VOCAB, "import math\n")
    lm = FrozenLM(tiny_model("llama", tokenizer), tokenizer)
    return lm, save_base(lm, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with nothing in it: making one takes longer than most tests."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{file}")
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a database of this test, which MLFLOW_TRACKING_URI names."""
    (tmp_path / "store").mkdir()
    uri = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'store' / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("TERRAPROMPT_BASE_MODEL", raising=False)
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(None)


@pytest.fixture
def run(tmp_path: Path, tiny_lm: tuple[FrozenLM, Path]) -> Path:
    """A finished run of two terrains."""
    lm, base = tiny_lm
    return make_run(tmp_path / "runs" / "first", base, lm)
