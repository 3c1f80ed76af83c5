"""Connecting to Ray: once, from anywhere, and with a clear word when there is nothing to connect to."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from distributed.errors import UserError
from distributed.infra import ray_cluster as cluster
from distributed.infra.ray_cluster import PACKAGES, check_address, connect_ray, resource_summary
from distributed.jobs.corpus.run import run_corpus
from terrains.sodarace.map_elites.corpus import CorpusConfig
from tests.distributed.conftest import LocalRay

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.distributed.conftest import LocalRay
from distributed.infra.ray_cluster import connect_ray
print(connect_ray(LocalRay()))
import ray
@ray.remote(num_cpus=0)
def where():
    import distributed.rollout.types
    return distributed.rollout.types.__file__
print(ray.get(where.remote(), timeout=60))
"""


def run_script(directory: Path, script: str = SCRIPT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a driver in another directory."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("RAY_")}
    command = [sys.executable, "-c", script, str(PACKAGES)]
    return subprocess.run(
        command, cwd=directory, env=kept | environment, capture_output=True, text=True, timeout=150, check=False
    )


def test_process_that_is_connected_is_left_as_it_is(local_ray: None) -> None:
    assert connect_ray(LocalRay(num_cpus=64)) is False
    assert "of 2 CPU free" in resource_summary()


@pytest.fixture
def servers() -> Iterator[dict[str, int]]:
    """Ports of a server that speaks HTTP, of one that says nothing, and one where nothing listens."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as web, socket.socket() as mute:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with socket.socket() as gone:
            gone.bind(("127.0.0.1", 0))
            closed = gone.getsockname()[1]
        yield {"web": web.server_port, "mute": mute.getsockname()[1], "closed": closed}
        web.shutdown()


class Quiet(http.server.BaseHTTPRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize("address", ["web", "mute", "closed"])
@pytest.mark.parametrize("setting", ["RAY_ADDRESS", "ray.address"])
def test_address_without_a_cluster_is_one_line_and_never_reaches_ray(
    servers: dict[str, int], monkeypatch: pytest.MonkeyPatch, address: str, setting: str
) -> None:
    reasons = {"closed": "Connection refused"}
    where = f"127.0.0.1:{servers[address]}"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "LONGEST_S", 2.0)
    monkeypatch.setattr(cluster.ray, "init", lambda **_: pytest.fail("Ray was asked, and may wait for ever"))
    if setting == "RAY_ADDRESS":
        monkeypatch.setenv("RAY_ADDRESS", where)
    with pytest.raises(UserError) as caught:
        connect_ray(LocalRay(address=None if setting == "RAY_ADDRESS" else where))
    reason = reasons.get(address, "what listens there is no Ray cluster")
    assert str(caught.value) == f"{setting}: no Ray cluster answers at {where}: {reason}"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:8265", "that of a dashboard"),
        ("https://head/ray", "that of a dashboard"),
        ("foo", "HOST:PORT"),
        ("foo:bar", "HOST:PORT"),
        ("127.0.0.1:0", "HOST:PORT"),
        ("127.0.0.1:70000", "HOST:PORT"),
        (":6379", "HOST:PORT"),
        ("ftp://host:6379", "HOST:PORT"),
    ],
)
def test_what_is_no_address_is_told_what_one_is(address: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match=reason) as caught:
        connect_ray(LocalRay())
    assert str(caught.value).startswith(f"RAY_ADDRESS: {address!r} is no address of a Ray cluster: ")
    assert "\n" not in str(caught.value)


def test_corpus_without_its_cluster_is_one_line_and_keeps_its_log(
    servers: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "c.log.jsonl"
    log.write_text("hours of work\n")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{servers['closed']}")
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match="RAY_ADDRESS: no Ray cluster answers at"):
        run_corpus(CorpusConfig(), tmp_path / "c.jsonl", use_ray=True, fresh=True)
    assert log.read_text() == "hours of work\n"


def test_cluster_that_answers_is_found_by_its_address(local_ray: None) -> None:
    address = ray.get_runtime_context().gcs_address
    assert check_address(address) == address


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_workers_import_these_packages_wherever_the_driver_runs(tmp_path: Path) -> None:
    run = run_script(tmp_path)
    assert run.stdout.split() == ["True", str(PACKAGES / "distributed" / "rollout" / "types.py")], run.stderr


DASHBOARD = """
import os, sys, urllib.error, urllib.request
import ray
sys.path.insert(0, sys.argv[1])
from distributed.infra.ray_cluster import connect_ray
from distributed.config import RayConfig
def status(path, data=None, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(where + path, data, headers), timeout=60) as page:
            return page.status, (page.headers.get("Set-Cookie") or "").split(";")[0]
    except urllib.error.HTTPError as error:
        return error.code, ""
connect_ray(RayConfig(num_cpus=1, include_dashboard=True))
where = "http://" + ray._private.worker._global_node.webui_url
token = open(os.path.expanduser("~/.ray/auth_token")).read()
opened, cookie = status("/api/authenticate", b"", Authorization="Bearer " + token)
print(where, status("/")[0], status("/api/jobs/")[0], opened, status("/api/jobs/", Cookie=cookie)[0])
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_dashboard_says_where_it_is_and_its_page_opens_with_the_token(tmp_path: Path) -> None:
    run = run_script(tmp_path, DASHBOARD, HOME=str(tmp_path))
    first, second = run.stdout.splitlines()
    where, *statuses = second.split()
    assert first == f"Ray's dashboard: {where}; it asks for the token that `ray get-auth-token` prints", run.stderr
    assert statuses == ["200", "401", "200", "200"]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_home_that_cannot_be_written_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = run_script(tmp_path, HOME=str(tmp_path / "file"))
    assert run.stdout.split()[0] == "True", run.stderr


def test_a_cluster_of_ones_own_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    # In a process of its own: other tests' Ray may run in this one.
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from distributed.config import RayConfig; import ray; "
        "from distributed.errors import UserError; from distributed.infra.ray_cluster import connect_ray\n"
        "try: connect_ray(RayConfig(num_cpus=1))\n"
        "except UserError as error: print(error)\n"
        "print(ray.is_initialized())"
    )
    run = run_script(tmp_path, script, RAY_TMPDIR=str(tmp_path / "file"))
    line, connected = run.stdout.splitlines()
    assert line.startswith("no Ray cluster starts on this machine: ") and "Not a directory" in line, run.stderr
    assert connected == "False"
