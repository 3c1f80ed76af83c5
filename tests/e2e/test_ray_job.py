"""The commands of the README on a Ray cluster, in a HOME with and without a token: a job that is submitted succeeds."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.distributed.docs import documented

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MOST_MIB = "12"  # of an upload; above it Ray warns
DRIVER = """python -c '
from distributed.infra.ray_cluster import connect_ray
from distributed.config import RayConfig
from distributed.errors import UserError
try:
    print(connect_ray(RayConfig()))
except UserError as error:
    print(error)
'"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1300)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def readme_commands() -> tuple[str, str, str]:
    """The commands that the README gives for a cluster: of the token, of the start, and of a job."""
    section = (ROOT / "README.md").read_text().split("On a cluster it is the same command", 1)[1]
    block = re.search(r"\n\n((?:    .*\n)+)", section)
    assert block is not None
    token, start, job = textwrap.dedent(block[1]).replace("\\\n", " ").strip().splitlines()
    assert start.startswith("ray start") and "ray job submit" in job and "http://127.0.0.1:8265" in job
    return token, start, job


@dataclass(frozen=True)
class Cluster:
    """A head node with a dashboard on loopback, and the environment of its commands."""

    environment: dict[str, str]
    port: int
    dashboard: int


def shell(script: str, environment: dict[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-ec", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
    )


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of a user who has, or has not, run something on Ray before, which leaves a token in HOME."""
    port, dashboard = free_port(), free_port()
    # Short, since the names of Ray's sockets lie below it and have 107 characters at most.
    home = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    environment |= {
        "PYTHONPATH": str(ROOT),  # the packages as they are here, for jobs that bring none along
        "HOME": str(tmp_path / "home"),
        "RAY_PACKAGE_SIZE_WARNING_MIB": MOST_MIB,
        "PATH": f"{BIN}:{environment['PATH']}",
        "TERRAPROMPT_HOME": str(tmp_path),
    }
    (tmp_path / "home").mkdir()
    if request.param == "after a local run":
        local = "from distributed.config import RayConfig; from distributed.infra.ray_cluster import connect_ray; "
        local += "connect_ray(RayConfig(num_cpus=1))"
        shell(f"python -c {shlex.quote(local)}", environment, 200).check_returncode()
        assert (tmp_path / "home/.ray/auth_token").exists()
    # Every port that would otherwise be a fixed one: beside another cluster no agent would take the job.
    ports = {
        "port": port, "dashboard-port": dashboard, "ray-client-server-port": free_port(),
        "dashboard-agent-listen-port": free_port(), "dashboard-agent-grpc-port": free_port(),
    }  # fmt: skip
    token, start, _ = readme_commands()
    more = f"--num-cpus 2 --temp-dir {home} --disable-usage-stats "
    more += " ".join(f"--{name}={number}" for name, number in ports.items())
    started = shell(f"{token}\n{start} {more}", environment, 200)
    assert started.returncode == 0, started.stdout + started.stderr
    yield Cluster(environment, port, dashboard)
    # `ray stop` would end every cluster of this machine; ours is known by its directory.
    ours = [p for p in psutil.process_iter(["cmdline"]) if any(home in part for part in p.info["cmdline"] or ())]
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(ours, timeout=20)
    shutil.rmtree(home, ignore_errors=True)


def submit(
    cluster: Cluster,
    settings: Sequence[str],
    module: str = "train",
    config: str = "configs/quickstart.yml",
    folder: Path | None = None,
) -> str:
    """Submits the README's job with these settings, waits for its success and returns what it said.

    A folder is the working directory in the place of the repository, whose packages are installed then.
    """
    token, _, job = readme_commands()
    job = job.replace(":8265", f":{cluster.dashboard}")
    job = job.replace("distributed.train", f"distributed.{module}").replace("configs/quickstart.yml", config)
    assert f"distributed.{module} " in job and f" {config} " in job
    if folder is not None:
        assert "--working-dir . " in job
        job = job.replace("--working-dir . ", f"--working-dir {shlex.quote(str(folder))} ")
    if module == "search":
        job = job.replace("rollouts.workers=16", "")
    done = shell(f"{token}\n{job} {' '.join(settings)}", cluster.environment, 1200)
    output = done.stdout + done.stderr
    assert done.returncode == 0 and "succeeded" in output, output[-3000:]
    assert "Traceback" not in output
    # .rayignore and .gitignore keep at home what a job does not need.
    assert "The runtime_env package" not in output, output[:2000]
    return output


def page(address: str, headers: dict[str, str], data: bytes | None = None) -> tuple[int, str]:
    """Status of a page of the dashboard, and the cookie that it sets."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=30) as answer:
            return answer.status, answer.headers.get("Set-Cookie", "").split(";")[0]
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.mark.parametrize("cluster", ["in an empty home"], indirect=True)
def test_a_submitted_job_succeeds_and_its_run_outlives_the_jobs_directory(cluster, tmp_path):
    settings = (
        "terrains.seconds=2", "warm_start.samples=32", "train.total_steps=1", "method.num_rollouts=12",
        "evaluation.samples_per_terrain=8", f"train.checkpoint_dir={tmp_path / 'runs'}",
    )  # fmt: skip
    output = submit(cluster, settings)
    summary = json.loads((tmp_path / "runs" / "quickstart" / "summary.json").read_text())
    assert set(summary["terrains"]) == {"left_wall", "right_wall", "tunnel"}
    assert (tmp_path / "mlflow.db").exists()
    assert "Every prompt on every terrain" in output


@pytest.mark.parametrize("cluster", ["after a local run"], indirect=True)
def test_a_submitted_search_succeeds_and_outlives_the_jobs_directory(cluster, tmp_path):
    settings = (
        "terrains.seconds=2", "warm_start.samples=32", "warm_start.steps=5", "method.num_rollouts=12",
        "train.total_steps=4", "search.evaluation_samples=4", "search.distill_steps=5",
        "evaluation.samples_per_terrain=8",
    )  # fmt: skip
    output = submit(cluster, settings, "search", "configs/search_quickstart.yml")
    folder = tmp_path / "runs" / "search_quickstart"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["errored"] == 0 and summary["rounds"] == 8
    assert (folder / "family_tree.png").exists() and (tmp_path / "mlflow.db").exists()
    assert "Trial name" in output and "best     member" in output


@pytest.mark.parametrize("cluster", ["in an empty home"], indirect=True)
def test_jobs_of_the_documented_world_and_reward_leave_runs_that_need_no_file_of_theirs(cluster, tmp_path):
    settings = (
        "warm_start.samples=16", "warm_start.steps=2", "train.total_steps=1", "method.num_rollouts=8",
        "rollouts.workers=2", "evaluation.samples_per_terrain=8",
    )  # fmt: skip
    for page in ("worlds.md", "rewards.md"):
        home = tmp_path / "files" / page
        documented(page, home)
        named = f"train.run_name={page.removesuffix('.md')}"
        output = submit(cluster, [*settings, named], config="letters.yml", folder=home)
        assert "before and after tuning" in output.lower()
        shutil.rmtree(home)
        run = shlex.quote(str(tmp_path / "runs" / page.removesuffix(".md")))
        assert set(json.loads((Path(run) / "summary.json").read_text())["terrains"]) == {"e", "t"}
        assert "<table" in (Path(run) / "report.html").read_text()
        commands = [
            f"export {run}",
            "write --terrain e",
            f"write --terrain e --from {run}",
            f"replay {run} --out shown",
        ]
        for command in commands:
            done = shell(f"cd {tmp_path} && terraprompt {command}", cluster.environment, 300)
            assert done.returncode == 0, done.stdout + done.stderr
        assert "fitness" in done.stderr


@pytest.mark.parametrize("cluster", ["in an empty home", "after a local run"], indirect=True)
def test_the_clusters_token_opens_its_dashboard_and_lets_a_driver_in(cluster):
    site, home = f"http://127.0.0.1:{cluster.dashboard}", Path(cluster.environment["HOME"])
    token = (home / ".ray/auth_token").read_text()
    assert page(f"{site}/", {})[0] == 200  # the page itself, which asks for the token
    assert page(f"{site}/api/jobs/", {})[0] == 401
    status, cookie = page(f"{site}/api/authenticate", {"Authorization": f"Bearer {token}"}, b"")
    assert status == 200 and page(f"{site}/api/jobs/", {"Cookie": cookie})[0] == 200
    where = f"127.0.0.1:{cluster.port}"
    address = {"RAY_ADDRESS": where}
    refused = shell(DRIVER, cluster.environment | address, 200)
    assert refused.stdout.startswith(f"RAY_ADDRESS: no Ray cluster answers at {where}: it asks for a token")
    assert refused.stdout.count("\n") == 1
    taken = shell(DRIVER, cluster.environment | address | {"RAY_AUTH_MODE": "token"}, 200)
    assert taken.stdout == "True\n", taken.stderr
