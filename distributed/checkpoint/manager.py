"""Saves checkpoints whole or not at all, and checks every file when one is read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from distributed.checkpoint.serialization import pack, unpack
from distributed.infra.writing import DRAFT, why

FORMAT = 1
BEST = "best_checkpoint"
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
REPLACED = ".replaced_"
NAME = re.compile(rf"({re.escape(REPLACED)})?checkpoint_(\d+)")


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or cannot be written. The message is one line and names the path."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back.

    Attributes:
        path: its directory.
        step: the step it was saved at.
        state: the state that was saved, equal bit for bit.
        score: the score it was saved with, if any.
    """

    path: Path
    step: int
    state: Any
    score: float | None


def save_checkpoint(
    directory: str | Path,
    step: int,
    state: Any,
    *,
    score: float | None = None,
    keep: int = 3,
    extras: Callable[[Path], None] | None = None,
) -> Path:
    """Saves a checkpoint as ``directory/checkpoint_{step}``, and deletes old ones.

    All files are written and synced under another name first; one rename makes them the checkpoint. A kill or a full
    disk at any moment leaves the earlier checkpoints as they were. One process writes to a directory at a time: see
    ``infra.locking``.

    Checkpoints of later steps are neither deleted nor counted, and `latest` still returns the last of them. A run that
    goes on from an older checkpoint therefore saves to another directory.

    Args:
        directory: where the checkpoints of a run lie.
        step: number of the step.
        state: nested dicts, lists and tuples of tensors, arrays and plain values; see ``serialization.pack``.
        score: higher is better; the link ``best_checkpoint`` points at the best one, which is never deleted.
        keep: how many of the latest, up to this one, to keep, at least 1.
        extras: writes more files into the directory it is given, such as an export.

    Returns:
        The checkpoint's directory.

    Raises:
        TypeError: the state holds something else.
        CheckpointError: the files cannot be written.
    """
    if keep < 1:
        raise ValueError("keep is at least 1")
    folder, tensors, rest = Path(directory), *pack(state)
    final = folder / f"checkpoint_{step:06d}"
    draft = folder / f"{DRAFT}{final.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(folder)
        draft.mkdir()
        save_file(tensors, draft / TENSORS)
        (draft / STATE).write_text(json.dumps({"step": step, "score": score, "state": rest}))
        if extras:
            extras(draft)
        _write_manifest(draft)
        _put_in_place(draft, final)
        if score is not None and math.isfinite(score):
            _point_at_best(folder, final, score)
        _forget(folder, keep, step)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the checkpoint {final}: {why(error)}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return final


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint, after checking that every file is what was written.

    Args:
        path: its directory; ``best_checkpoint`` is one too.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    folder = Path(path)
    _verify(folder)
    try:
        saved = json.loads((folder / STATE).read_text())
        state = unpack(load_file(folder / TENSORS), saved["state"])
        return Checkpoint(folder, int(saved["step"]), state, saved["score"])
    except Exception as error:  # readers raise anything on files that pass the check but were written by others
        raise CheckpointError(f"the checkpoint {folder} cannot be read: {type(error).__name__}: {error}") from error


def latest(directory: str | Path) -> Path | None:
    """The checkpoint of the highest step in a directory, or None. A save that was cut short is no checkpoint."""
    found = steps(directory)
    return found[max(found)] if found else None


def best(directory: str | Path) -> Path | None:
    """The checkpoint of the best score in a directory, or None."""
    link = Path(directory) / BEST
    return link.resolve() if link.exists() else None


def steps(directory: str | Path) -> dict[int, Path]:
    """The checkpoints of a directory by step. One that was being replaced when a save was killed still counts."""
    folder, found = Path(directory), dict[int, Path]()
    for entry in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []:
        if (match := NAME.fullmatch(entry.name)) and entry.is_dir() and not (match[1] and int(match[2]) in found):
            found[int(match[2])] = entry
    return found


def _tidy(folder: Path) -> None:
    """Removes what a save that was killed left behind, and completes or undoes its last renaming."""
    for leftover in folder.glob(f"{DRAFT}*"):
        leftover.unlink() if leftover.is_symlink() else shutil.rmtree(leftover)
    for aside in folder.glob(f"{REPLACED}*"):
        final = folder / aside.name.removeprefix(REPLACED)
        shutil.rmtree(aside) if final.exists() else aside.rename(final)


def _write_manifest(draft: Path) -> None:
    """Writes the hash of every file, and syncs them all to the disk."""
    files = sorted(entry for entry in draft.rglob("*") if entry.is_file())
    hashes = {entry.relative_to(draft).as_posix(): _sha256(entry) for entry in files}
    (draft / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": hashes}, indent=1))
    for entry in [*files, draft / MANIFEST, draft]:
        _sync(entry)


def _put_in_place(draft: Path, final: Path) -> None:
    """Renames a draft to its final name. A checkpoint of the same step is renamed first, and then deleted."""
    aside = final.with_name(f"{REPLACED}{final.name}")
    if final.exists():
        final.rename(aside)
    draft.rename(final)
    _sync(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _point_at_best(folder: Path, final: Path, score: float) -> None:
    """Points ``best_checkpoint`` at this one if none before it scored more. The link is replaced in one step."""
    standing = best(folder)
    if standing is not None and standing != final.resolve():
        standing_score = json.loads((standing / STATE).read_text())["score"]
        if standing_score is not None and standing_score > score:
            return
    draft = folder / f"{DRAFT}best"
    draft.symlink_to(final.name)
    os.replace(draft, folder / BEST)


def _forget(folder: Path, keep: int, step: int) -> None:
    """Removes all but the best and the last ``keep`` of the checkpoints up to a step."""
    found = steps(folder)
    for old in sorted(each for each in found if each <= step)[:-keep]:
        if found[old].resolve() != best(folder):
            shutil.rmtree(found[old])


def _verify(folder: Path) -> None:
    """Checks every file of a checkpoint against its manifest."""
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint at {folder}")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        version, hashes = manifest["format"], dict(manifest["files"])
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no checkpoint: it has no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the checkpoint {folder} is damaged: {MANIFEST} cannot be read: {error!r}") from error
    if version != FORMAT:
        raise CheckpointError(f"the checkpoint {folder} has format {version}; this version reads {FORMAT}")
    for name in {TENSORS, STATE, *hashes}:
        entry = folder / name
        if not entry.is_file():
            raise CheckpointError(f"the checkpoint {folder} is damaged: {name} is missing")
        if hashes.get(name) != _sha256(entry):
            raise CheckpointError(f"the checkpoint {folder} is damaged: {name} is not what was written")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
