"""The command of the README on a Ray cluster: a job that is submitted with its working directory succeeds."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MOST_MIB = "12"  # of an upload; above it Ray warns
pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head node with a dashboard on loopback; yields the environment in which its commands work."""
    port, dashboard = free_port(), free_port()
    # Short, since the names of Ray's sockets lie below it and have 107 characters at most.
    home = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    environment |= {
        "RAY_AUTH_MODE": "disabled",
        "RAY_PACKAGE_SIZE_WARNING_MIB": MOST_MIB,
        "PATH": f"{BIN}:{environment['PATH']}",
        "TERRAPROMPT_HOME": str(tmp_path),
    }
    # Every port that would otherwise be a fixed one: beside another cluster no agent would take the job.
    ports = {
        "port": port, "dashboard-port": dashboard, "ray-client-server-port": free_port(),
        "dashboard-agent-listen-port": free_port(), "dashboard-agent-grpc-port": free_port(),
    }  # fmt: skip
    start = [
        "ray", "start", "--head", "--num-cpus", "2", "--dashboard-host", "127.0.0.1", "--temp-dir", home,
        "--disable-usage-stats", *(f"--{name}={number}" for name, number in ports.items()),
    ]  # fmt: skip
    subprocess.run(start, env=environment, check=True, capture_output=True, timeout=120)
    yield environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    # `ray stop` would end every cluster of this machine; ours is known by its directory.
    ours = [p for p in psutil.process_iter(["cmdline"]) if any(home in part for part in p.info["cmdline"] or ())]
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(ours, timeout=20)
    shutil.rmtree(home, ignore_errors=True)


def submit(environment: dict[str, str], *command: str) -> str:
    """Submits a job with this project as its working directory, waits for its success and returns what it said."""
    done = subprocess.run(
        ["ray", "job", "submit", "--working-dir", ".", "--", "python", "-m", *command],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0 and "succeeded" in output, output[-3000:]
    assert "Traceback" not in output
    # .rayignore and .gitignore keep at home what a job does not need.
    assert "The runtime_env package" not in output, output[:2000]
    return output


def test_a_submitted_job_succeeds_and_its_run_outlives_the_jobs_directory(cluster, tmp_path):
    settings = (
        "terrains.seconds=2", "warm_start.samples=32", "train.total_steps=1", "method.num_rollouts=12",
        "evaluation.samples_per_terrain=8", f"train.checkpoint_dir={tmp_path / 'runs'}",
    )  # fmt: skip
    output = submit(cluster, "distributed.train", "--config", "configs/quickstart.yml", *settings)
    summary = json.loads((tmp_path / "runs" / "quickstart" / "summary.json").read_text())
    assert set(summary["terrains"]) == {"left_wall", "right_wall", "tunnel"}
    assert (tmp_path / "mlflow.db").exists()
    assert "Every prompt on every terrain" in output


def test_a_submitted_search_succeeds_and_outlives_the_jobs_directory(cluster, tmp_path):
    settings = (
        "terrains.seconds=2", "warm_start.samples=32", "warm_start.steps=5", "method.num_rollouts=12",
        "train.total_steps=4", "search.evaluation_samples=4", "search.distill_steps=5",
        "evaluation.samples_per_terrain=8",
    )  # fmt: skip
    output = submit(cluster, "distributed.search", "--config", "configs/search_quickstart.yml", *settings)
    folder = tmp_path / "runs" / "search_quickstart"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["errored"] == 0 and summary["rounds"] == 8
    assert (folder / "family_tree.png").exists() and (tmp_path / "mlflow.db").exists()
    assert "Trial name" in output and "best     member" in output
