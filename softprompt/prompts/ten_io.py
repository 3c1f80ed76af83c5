"""A terrain embedding network as two files: its tensors, and what they are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from softprompt.prompts.ten import TenSettings, TerrainEmbeddingNetwork

WEIGHTS_FILE, SETTINGS_FILE = "ten.safetensors", "ten.json"


def save_network(directory: str | Path, network: TerrainEmbeddingNetwork, terrains: Sequence[str]) -> list[Path]:
    """Writes ``ten.safetensors`` and ``ten.json`` into a directory that is there.

    Args:
        directory: where to.
        network: what to write.
        terrains: names of the terrains it was trained on, in its order.

    Returns:
        The two files.
    """
    folder = Path(directory)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    said: dict[str, Any] = {
        "settings": asdict(network.settings),
        "n_soft_tokens": network.n_soft_tokens,
        "d_model": network.shared.shape[2],
        "n_features": network.features.shape[1],
        "terrains": list(terrains),
    }
    if network.points is not None:
        said["points"] = list(network.points.shape[1:])
    # First whole under other names: a full disk leaves the files of before.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished_") as drafts:
        save_file(tensors, Path(drafts) / WEIGHTS_FILE)
        (Path(drafts) / SETTINGS_FILE).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        for name in (WEIGHTS_FILE, SETTINGS_FILE):
            (Path(drafts) / name).replace(folder / name)
    return [folder / WEIGHTS_FILE, folder / SETTINGS_FILE]


def load_network(directory: str | Path) -> tuple[TerrainEmbeddingNetwork, list[str]]:
    """Reads a network back, and the names of the terrains it was trained on.

    Raises:
        ValueError: a file is missing or damaged; the message is one line.
    """
    folder = Path(directory)
    try:
        said: dict[str, Any] = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS_FILE)
        terrains = [str(name) for name in said["terrains"]]
        shared = torch.zeros(int(said["n_soft_tokens"]), int(said["d_model"]))
        features = torch.zeros(len(terrains), int(said["n_features"]))
        points = torch.zeros(len(terrains), *map(int, said["points"])) if "points" in said else None
        network = TerrainEmbeddingNetwork(shared, features, TenSettings(**said["settings"]), points=points)
        network.load_state_dict(tensors)
    except FileNotFoundError as error:
        raise ValueError(f"no terrain embedding network in {str(folder)!r}: there is no {error.filename}") from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the terrain embedding network in {str(folder)!r} cannot be read: {line}") from None
    return network.eval().requires_grad_(False), terrains
