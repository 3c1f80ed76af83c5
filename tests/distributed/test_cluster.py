"""Connecting to Ray: once, from anywhere, and with a clear word when there is nothing to connect to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distributed.cluster import PACKAGES, connect_ray, resource_summary
from tests.distributed.conftest import LocalRay

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.distributed.conftest import LocalRay
from distributed.cluster import connect_ray
print(connect_ray(LocalRay()))
import ray
@ray.remote(num_cpus=0)
def where():
    import distributed.messages
    return distributed.messages.__file__
print(ray.get(where.remote(), timeout=60))
"""


def run_script(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a driver in another directory."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    command = [sys.executable, "-c", SCRIPT, str(PACKAGES)]
    return subprocess.run(
        command, cwd=directory, env=kept | environment, capture_output=True, text=True, timeout=150, check=False
    )


def test_process_that_is_connected_is_left_as_it_is(local_ray: None) -> None:
    assert connect_ray(LocalRay(num_cpus=64)) is False
    assert "of 2 CPU free" in resource_summary()


def test_address_where_nothing_listens_is_an_error_of_one_line_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    run = run_script(tmp_path, RAY_ADDRESS="127.0.0.1:9")
    assert time.monotonic() - began < 30
    assert run.stderr.splitlines()[-1] == "ConnectionError: no Ray cluster answers at 127.0.0.1:9: Connection refused"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_workers_import_these_packages_wherever_the_driver_runs(tmp_path: Path) -> None:
    run = run_script(tmp_path)
    assert run.stdout.split() == ["True", str(PACKAGES / "distributed" / "messages.py")], run.stderr
