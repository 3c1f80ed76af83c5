"""Kernels compute the same whether they were compiled or found, and are found only while no source has changed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import softprompt.kernels
from tests.kernel_processes import agree_side_by_side, packages, run

OURS = {"softprompt", "terrains", "distributed"}

DRAW = """
import numpy as np
from softprompt.kernels.draw import draw_rows
random = np.random.default_rng(0)
logits, uniforms = random.standard_normal((20, 500), np.float32) * 3, random.random(20, np.float32)
chosen, logprobs = np.empty(20, np.int64), np.empty(20, np.float32)
draw_rows(logits, uniforms, chosen, logprobs)
print(chosen.tobytes().hex(), logprobs.tobytes().hex(), sum(draw_rows.stats.cache_hits.values()))
"""

ATTEND = """
import numpy as np
from softprompt.kernels.decode import Cells, attend, rms_norm
def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)
angles, prompts = random(99, 16), [random(3, 2, 3, 2, 16, 16, seed=seed) for seed in (5, 1)]
cells = Cells(np.cos(angles), np.sin(angles), *prompts,
    random(3, 12, 2, 2, 16, 16, seed=2), random(3, 12, 2, 2, 16, 16, seed=3), np.arange(12) % 2, np.array([0, 3]))
out, normed = np.zeros((12, 64), np.float32), np.zeros((12, 64), np.float32)
attend(0, 12, 1, random(12, 128, seed=4), cells, 20, 40, 4, np.float32(0.25), out)
rms_norm(0, 12, random(12, 64), random(64), np.float32(1e-6), normed)
print(out.tobytes().hex(), normed.tobytes().hex(), sum(attend.stats.cache_hits.values()))
"""

SIMULATE = "from terrains.sodarace.kernel import simulate_one; print(simulate_one._cache.cache_path)"


def test_found_it_computes_what_it_did_when_compiled_and_an_edit_of_what_it_calls_is_seen(tmp_path):
    folder = packages(tmp_path)
    *compiled, hits = run(DRAW, folder)
    assert hits == "0"
    assert run(DRAW, folder) == [*compiled, "1"]
    callee = folder / "softprompt" / "kernels" / "elementwise.py"
    source = callee.read_text()
    assert "(np.int32(k) + np.int32(127))" in source
    callee.write_text(source.replace("(np.int32(k) + np.int32(127))", "(np.int32(k) + np.int32(128))"))
    *edited, hits = run(DRAW, folder)
    assert hits == "0" and edited != compiled


@pytest.mark.slow
def test_a_process_that_compiles_and_one_that_loads_agree_bit_for_bit_side_by_side(tmp_path):
    agree_side_by_side(DRAW, packages(tmp_path))


def test_the_digest_of_the_cache_covers_every_source_that_kernels_are_made_of():
    """The digest covers the files beside cache.py; a compiled function imported from elsewhere would be missed."""
    for file in sorted(Path(softprompt.kernels.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                assert node.level == 0 and (
                    module.startswith("softprompt.kernels.") or module.partition(".")[0] not in OURS
                ), f"{file.name} imports {module}"
            elif isinstance(node, ast.Import):
                assert not {alias.name.partition(".")[0] for alias in node.names} & OURS, file.name


@pytest.mark.slow
def test_cold_warm_and_half_warm_caches_agree_bit_for_bit(tmp_path):
    folder = packages(tmp_path)
    *cold, hits = run(ATTEND, folder)
    assert hits == "0"
    assert run(ATTEND, folder) == [*cold, "1"]
    kept = sorted((folder / "softprompt" / "kernels" / "__pycache__").glob("*rms_norm*.nbc"))
    assert kept
    for file in kept:
        file.unlink()
    assert run(ATTEND, folder)[:2] == cold
    for file in (folder / "softprompt" / "kernels" / "__pycache__").glob("*.attend*.nb?"):
        file.unlink()
    *half, hits = run(ATTEND, folder)
    assert hits == "0" and half == cold


def test_where_neither_package_nor_home_can_be_written_it_is_kept_among_temporary_files(tmp_path):
    folder = packages(tmp_path / "code")
    (tmp_path / "temporary").mkdir()
    blocked = tmp_path / "file"
    blocked.touch()
    for package in ("softprompt/kernels", "terrains/sodarace"):
        (folder / package / "__pycache__").touch()
    places = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked / "cache"), "TMPDIR": str(tmp_path / "temporary")}
    *compiled, hits = run(DRAW, folder, **places)
    assert hits == "0"
    assert run(DRAW, folder, **places) == [*compiled, "1"]
    (own,) = (tmp_path / "temporary").glob("terraprompt-kernels-*")
    assert own.stat().st_mode & 0o077 == 0
    assert run(SIMULATE, folder, **places)[0].startswith(str(own))
    # A directory that others can write to may hold anybody's code.
    own.chmod(0o777)
    assert run(DRAW, folder, **places) == [*compiled, "0"]
