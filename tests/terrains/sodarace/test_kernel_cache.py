"""The simulator computes the same bits whether it was compiled or loaded from its cache."""

from __future__ import annotations

import ast
import inspect

import pytest

from terrains.sodarace import kernel
from tests.kernel_processes import agree_side_by_side, packages

SIMULATE = """
import hashlib
import numpy as np
from terrains.sodarace.kernel import simulate_one
joints = np.array([[0.0, 2.3], [6.8, 2.3], [3.4, 9.1], [10.2, 9.1]])
ends = np.array([[0, 1], [1, 2], [2, 0], [2, 3], [1, 3]])
amplitude, phase = np.array([0.4, 0.3, 0.2, 0.4, 0.0]), np.array([0.0, 0.3, 0.6, 0.1, 0.0])
rigid, kind = np.array([False, False, False, False, True]), np.array([0, 0, 0, 1])
seg = np.array([[-300.0, 0.0, 5.0, 0.0], [5.0, 0.0, 12.0, 1.5], [12.0, 1.5, 300.0, 0.0], [-300.0, 14.0, 300.0, 14.0]])
frames = np.zeros((300, 4, 2))
ground = seg, kind, np.array([0, 4]), np.arange(4), -300.0, 600.0
way = simulate_one(joints, ends, amplitude, phase, rigid, *ground, 600, 2, frames)
assert np.isfinite(way) and abs(way) > 1
print(way.hex(), hashlib.sha256(frames.tobytes()).hexdigest(), sum(simulate_one.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_a_process_that_compiles_and_one_that_loads_agree_bit_for_bit_side_by_side(tmp_path):
    agree_side_by_side(SIMULATE, packages(tmp_path))


def test_the_kernel_calls_compiled_functions_of_its_own_file_only():
    """Numba drops what it keeps of a kernel when the kernel's own file changes, and looks at no other file."""
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(kernel))) if isinstance(node, ast.ImportFrom)]
    ours = {(node.module, alias.name) for node in imports for alias in node.names if "terrains" in (node.module or "")}
    assert ours == {("terrains.sodarace.kernel_cache", "inlined"), ("terrains.sodarace.kernel_cache", "kernel")}
