"""One process at a time in a directory; a dead one keeps nobody out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.config.load import load_config
from distributed.errors import UserError
from distributed.infra.locking import LOCK, locked
from distributed.search.run import run_search

HOLD = (
    "import sys, time; from pathlib import Path; from distributed.infra.locking import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(600)\n"
)


def test_a_lock_names_who_has_it_and_ends_with_its_process(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        words = f"is in use by process {process.pid} on {socket.gethostname()}"
        with pytest.raises(UserError, match=words) as caught, locked(tmp_path):
            pass
        assert "\n" not in str(caught.value)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (tmp_path / LOCK).exists()  # stale
    with locked(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} on"), locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_no_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*run/\.lock'"), locked(tmp_path / "run"):
        pass


def test_two_searches_do_not_share_a_directory(tmp_path: Path) -> None:
    config = load_config(Path(__file__).parents[3] / "configs/search_quickstart.yml", ["terrains.names=[flat]"])
    (tmp_path / "config.json").write_text("{}")
    with locked(tmp_path), pytest.raises(UserError, match=f"is in use by process {os.getpid()} on"):
        run_search(config, tmp_path)
    assert (tmp_path / "config.json").read_text() == "{}"
