"""Results of benchmarks that share a file."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_results_of_another_benchmark_stay_in_the_file(tmp_path):
    merge = runpy.run_path(str(BENCHMARKS / "record.py"))["merge"]
    file = tmp_path / "results" / "simulator.json"
    merge(file, {"box2d_ratio": 7.0, "rounds": 3})
    merge(file, {"scoring": {"walkers_per_second": 900.0}})
    merge(file, {"box2d_ratio": 8.0})
    found = json.loads(file.read_text())
    assert found == {"box2d_ratio": 8.0, "rounds": 3, "scoring": {"walkers_per_second": 900.0}}
    assert [each.name for each in file.parent.iterdir()] == ["simulator.json"]


def test_committed_results_hold_the_ratio_to_box2d():
    found = json.loads((BENCHMARKS / "results" / "simulator.json").read_text())
    assert found["box2d_ratio"] > 1
