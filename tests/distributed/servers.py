"""Servers of MLflow on loopback, for as long as a test asks them something."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(command: list[str], health: str, cwd: Path) -> Iterator[None]:
    """A server in a process group of its own, from its first healthy answer on."""
    log = cwd / "server.log"
    # As in an environment that is activated: MLflow calls uvicorn by its name.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, cwd=cwd, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while True:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(health, timeout=5).read()
                break
            except OSError:
                time.sleep(0.5)
        yield
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(server.pid, sent)
            with suppress(subprocess.TimeoutExpired):
                server.wait(20)


@contextmanager
def served(uri: str, cwd: Path) -> Iterator[str]:
    """A model behind ``mlflow models serve``; gives the address that it answers at."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    arguments = ["-m", uri, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with serving([sys.executable, "-m", "mlflow", "models", "serve", *arguments], f"{address}/ping", cwd):
        yield f"{address}/invocations"


def answered(address: str, asked: Mapping[str, Any]) -> list[str]:
    """The programs that a served model answers with."""
    request = urllib.request.Request(address, json.dumps(asked).encode(), {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request, timeout=60))
    return [row["program"] for row in answer["predictions"]]
