"""Ten thousand programs, and sandbox processes that are killed meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_programs_leave_no_process_and_no_memory_and_killed_sandboxes_change_no_score():
    command = [sys.executable, "-m", "tests.terrains.sodarace.soak", "10000"]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=1700)
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout)
    found = json.loads(done.stdout)
    assert sum(found["kinds"].values()) == found["programs"] == 10_000
    assert found["killed"] > 20
    assert (found["known_programs_scored_wrong"], found["crashed_again"]) == (0, 0)
    assert (found["processes_left"], found["threads_left"]) == (0, 0)
    assert found["megabytes_late"] < found["megabytes_early"] + 20
    assert found["sandbox_megabytes_last_quarter"] < found["sandbox_megabytes_third_quarter"] + 20
