"""Files are whole or not there; what cannot be written, and what helps, is one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint, save_checkpoint
from distributed.errors import UserError
from distributed.infra.writing import WriteError, told, whole_file, why, write_text
from tests.distributed.full_disk import full_disk


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    write_text(file, "ä")
    with (
        full_disk(),
        pytest.raises(WriteError, match=r"cannot write '.*config\.json': File too large; raise the limit"),
    ):
        write_text(file, "x" * 1000)
    assert file.read_text(encoding="utf-8") == "ä" and os.listdir(tmp_path) == ["config.json"]
    with pytest.raises(ZeroDivisionError), whole_file(file) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert file.read_text(encoding="utf-8") == "ä" and os.listdir(tmp_path) == ["config.json"]


def test_a_draft_has_the_ending_of_its_file_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "walker.png"
    link.symlink_to(tmp_path / "elsewhere" / "real.png")
    with whole_file(link) as draft:
        assert draft.suffix == ".png" and draft.parent.name == "elsewhere"
        draft.write_text("picture")
    assert link.is_symlink() and (tmp_path / "elsewhere" / "real.png").read_text() == "picture"


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_text("/dev/null", "text")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(WriteError, match="'/dev/full': No space left on device; free some space"):
        write_text("/dev/full", "text")


def test_a_directory_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"cannot write '.*runs/config\.json': Not a directory"):
        write_text(tmp_path / "runs" / "config.json", "text")


def test_safetensors_errors_are_told_like_the_systems(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(WriteError, match="File too large; raise the limit"), told(tmp_path):
        save_file({"a": torch.zeros(1000)}, tmp_path / "a.safetensors")
    assert why(OSError(errno.EROFS, "read-only")).endswith("make it writable, or name another place")
    assert why(OSError("no room\nat all")) == "no room"


def test_a_checkpoint_on_a_full_disk_leaves_those_of_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"a": torch.zeros(1000)}, score=1.0)
    before = sorted(os.listdir(tmp_path))
    for state in ({"a": torch.zeros(1000)}, {"a": "x" * 1000}):
        with full_disk(), pytest.raises(CheckpointError, match="checkpoint_000002: File too large; raise the limit"):
            save_checkpoint(tmp_path, 2, state)
        assert sorted(os.listdir(tmp_path)) == before
    newest = latest(tmp_path)
    assert newest is not None and load_checkpoint(newest).step == 1


def test_a_checkpoint_of_an_older_step_is_not_forgotten_at_once(tmp_path: Path) -> None:
    for step in (3, 5, 6, 7, 4):
        saved = save_checkpoint(tmp_path, step, {"step": step}, keep=3)
    assert load_checkpoint(saved).state == {"step": 4}
    assert sorted(os.listdir(tmp_path)) == [f"checkpoint_{step:06d}" for step in (4, 5, 6, 7)]
