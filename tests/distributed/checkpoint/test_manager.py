"""A checkpoint is whole, exact and checked, or it is not there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distributed.checkpoint import manager as checkpoint
from distributed.checkpoint.manager import CheckpointError, best, latest, load_checkpoint, save_checkpoint


def some_state() -> dict:
    """A state of every kind that a training run has."""
    parameter = torch.nn.Parameter(torch.randn(3, 4))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3)
    parameter.sum().backward()
    optimizer.step()
    return {
        "optimizer": optimizer.state_dict(),
        "prompts": parameter,
        "half": torch.randn(5).bfloat16(),
        "view": torch.arange(12).reshape(3, 4).T,
        "torch_random": torch.get_rng_state(),
        "numpy_random": np.random.default_rng(3).bit_generator.state,
        "python_random": random.getstate(),
        "elites": [{"program": "import math\n", "fitness": np.float64(1 / 3), "ids": np.arange(4)}],
        "scores": {0: float("inf"), 1: None, 2: True},
        "tricky": {"__kind__": "tensor", "value": "x", "": [], "a/b": torch.zeros(()), "a": {"b": torch.ones(())}},
    }


def assert_equal(left: object, right: object) -> None:
    """Equal values of equal types, to the bit."""
    if isinstance(left, torch.Tensor):
        assert isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    elif isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray) and left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, dict):
        assert isinstance(right, dict) and list(left) == list(right)
        for key in left:
            assert_equal(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert type(left) is type(right) and len(left) == len(right)  # type: ignore[arg-type]
        for one, other in zip(left, right, strict=True):  # type: ignore[call-overload]
            assert_equal(one, other)
    else:
        assert left == right


def test_what_is_loaded_equals_what_was_saved(tmp_path: Path) -> None:
    state = some_state()
    path = save_checkpoint(tmp_path, 7, state, score=0.5)
    loaded = load_checkpoint(path)
    assert path == tmp_path / "checkpoint_000007"
    assert (loaded.step, loaded.score) == (7, 0.5)
    assert_equal(state, loaded.state)


def test_optimiser_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (parameter**3).sum().backward()
        optimizer.step()

    parameter = torch.nn.Parameter(torch.randn(4))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    step(parameter, optimizer)
    state = load_checkpoint(save_checkpoint(tmp_path, 1, {"p": parameter, "o": optimizer.state_dict()})).state
    other = torch.nn.Parameter(state["p"])
    restored = torch.optim.AdamW([other], lr=0.5)
    restored.load_state_dict(state["o"])
    for _ in range(3):
        step(parameter, optimizer)
        step(other, restored)
    assert torch.equal(parameter, other)


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "export/adapter.json"])
def test_one_changed_byte_is_an_error_of_one_line(tmp_path: Path, name: str) -> None:
    def export(folder: Path) -> None:
        (folder / "export").mkdir()
        (folder / "export" / "adapter.json").write_text("{}")

    path = save_checkpoint(tmp_path, 1, {"a": torch.ones(8)}, extras=export)
    content = bytearray((path / name).read_bytes())
    content[-1] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is not what was written") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_files_and_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*/nowhere"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"it has no manifest\.json"):
        load_checkpoint(tmp_path)
    path = save_checkpoint(tmp_path, 1, {"a": torch.ones(8)})
    (path / "tensors.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"tensors\.safetensors is missing"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "manifest", ["", "[]", '{"format": 1}', '{"format": 1, "files": 3}', '{"format": 1, "files": {}}']
)
def test_damaged_manifest_is_a_checkpoint_error(tmp_path: Path, manifest: str) -> None:
    path = save_checkpoint(tmp_path, 1, {"a": torch.ones(8)})
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_files_of_another_program_are_a_checkpoint_error(tmp_path: Path) -> None:
    save_file({}, tmp_path / "tensors.safetensors")
    (tmp_path / "state.json").write_text(
        json.dumps({"state": {"__kind__": "tensor", "value": "no"}, "step": 1, "score": 1})
    )
    checkpoint._write_manifest(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read: KeyError"):
        load_checkpoint(tmp_path)


def test_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, score in enumerate([0.1, 0.9, 0.3, 0.2, 0.4, 0.5]):
        save_checkpoint(tmp_path, step, {"step": step}, score=score, keep=2)
    kept = sorted(entry.name for entry in tmp_path.iterdir())
    assert kept == ["best_checkpoint", "checkpoint_000001", "checkpoint_000004", "checkpoint_000005"]
    assert load_checkpoint(tmp_path / "best_checkpoint").step == 1
    assert best(tmp_path) == (tmp_path / "checkpoint_000001").resolve()
    assert latest(tmp_path) == tmp_path / "checkpoint_000005"


def test_latest_counts_by_number_and_knows_nothing_of_an_empty_place(tmp_path: Path) -> None:
    assert latest(tmp_path) is None and latest(tmp_path / "nowhere") is None and best(tmp_path) is None
    for step in (999_999, 1_000_000):
        save_checkpoint(tmp_path, step, {})
    assert latest(tmp_path) == tmp_path / "checkpoint_1000000"


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, {"a": 1})
    assert load_checkpoint(save_checkpoint(tmp_path, 3, {"a": 2})).state == {"a": 2}


def test_kill_while_replacing_a_step_leaves_the_old_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, {"a": 1}, score=1.0).rename(tmp_path / ".replaced_checkpoint_000003")
    (tmp_path / ".unfinished_checkpoint_000003").mkdir()
    newest = latest(tmp_path)
    assert newest is not None and load_checkpoint(newest).state == {"a": 1}
    save_checkpoint(tmp_path, 4, {"a": 2}, score=0.5)
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"checkpoint_000003", "checkpoint_000004", "best_checkpoint"}
    assert load_checkpoint(tmp_path / "best_checkpoint").step == 3


def test_failed_save_leaves_the_checkpoints_of_before(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError("no space left on device")

    save_checkpoint(tmp_path, 1, {"a": 1})
    with pytest.raises(CheckpointError, match="checkpoint_000002: no space left"):
        save_checkpoint(tmp_path, 2, {"a": 2}, extras=full)
    assert latest(tmp_path) == tmp_path / "checkpoint_000001"
    save_checkpoint(tmp_path, 3, {"a": 3})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint_000001", "checkpoint_000003"]


def test_kill_at_any_moment_leaves_a_whole_latest_checkpoint(tmp_path: Path) -> None:
    script = (
        "import sys, torch; from distributed.checkpoint.manager import save_checkpoint\n"
        "for step in range(10**6):\n"
        "    save_checkpoint(sys.argv[1], step, {'a': torch.full((200_000,), float(step))}, score=step % 7, keep=2)\n"
    )
    for pause in (0.05, 0.11, 0.17):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        deadline = time.monotonic() + 60
        while latest(tmp_path) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        newest = latest(tmp_path)
        assert newest is not None
        loaded = load_checkpoint(newest)
        assert torch.equal(loaded.state["a"], torch.full((200_000,), float(loaded.step)))
        load_checkpoint(tmp_path / "best_checkpoint")


@pytest.mark.parametrize("bad", [{"f": print}, {"x": {1.5: 2}}, {"o": np.array([object()])}, [set()]])
def test_what_cannot_be_kept_exactly_is_refused(tmp_path: Path, bad: object) -> None:
    with pytest.raises(TypeError, match="a checkpoint"):
        save_checkpoint(tmp_path, 1, bad)
    assert latest(tmp_path) is None
