"""A kind of program as a person asks for it, and the prompts that a run's network makes for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from distributed.errors import UserError
from distributed.results.network_prompts import network_prompts
from distributed.results.run_folder import PROMPTS, open_run
from distributed.results.wanted_kind import wanted_point
from softprompt.models.frozen import FrozenLM
from softprompt.prompts.ten import TenSettings, TerrainEmbeddingNetwork
from softprompt.prompts.ten_io import save_network
from terrains.niches import Niches
from terrains.sodarace.world import SodaraceWorld, WorldConfig
from tests.distributed.finished_runs import main_exit, make_run

GRID = Niches(names=("height", "width", "mass"), cells=(2, 3, 4), low=(0, 10, 0), high=(12, 20, 8))
KNOWN = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.25], [0.8, 0.4, 0.75]])
NEW = "bumpy(amplitude=4,seed=2)"


@pytest.mark.parametrize(
    ("said", "point"),
    [
        ("height=low", [0.1, 0.9, 0.5]),
        ("height=low, width=high", [0.1, 0.9, 0.5]),
        ("height=high,width=high", [0.8, 0.9, 0.75]),
        ("width=middle", [0.8, 0.4, 0.75]),
        ("height=3", [0.25, 0.2, 0.25]),
        ("height=-7,width=99", [0.0, 1.0, 0.5]),
        ("mass=4,width=12,height=6", [0.5, 0.2, 0.5]),
    ],
)
def test_what_is_asked_for_is_a_place_and_the_rest_is_as_in_the_nearest_known_kind(said, point):
    np.testing.assert_allclose(wanted_point(said, GRID, KNOWN), point, rtol=1e-12)
    assert KNOWN[0, 0] == 0.1, "what is known stays as it was"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("hight=low", "no descriptor 'hight'; did you mean height"),
        ("speed=low", "there are height, width, mass"),
        ("", "no descriptor ''"),
        ("height", "height must be a number or one of low, middle, high, not ''"),
        ("height=wide", "not 'wide'"),
        ("height=nan", "not 'nan'"),
    ],
)
def test_what_is_no_kind_is_one_line(said, words):
    with pytest.raises(UserError, match="--kind: ") as error:
        wanted_point(said, GRID, KNOWN)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def folder(tiny_lm: tuple[FrozenLM, Path], tmp_path: Path) -> Path:
    """A finished run without a network."""
    lm, base = tiny_lm
    return make_run(tmp_path / "run", base, lm)


def add_network(folder: Path, world: SodaraceWorld, kinds: bool = True) -> TerrainEmbeddingNetwork:
    """Puts a network with five kinds a terrain, and a last layer that is not zero, into a run's folder."""
    names = list(load_file(folder / PROMPTS))
    features = torch.from_numpy(np.stack([world.terrain(name).features for name in names]))
    points = torch.rand(len(names), 5, 3, generator=torch.Generator().manual_seed(3)) if kinds else None
    network = TerrainEmbeddingNetwork(torch.zeros(4, 32), features, TenSettings(hidden=8), points=points)
    with torch.no_grad():
        network.head.weight.normal_(generator=torch.Generator().manual_seed(4))
    save_network(folder, network, names)
    return network


def test_a_terrain_never_seen_has_as_many_prompts_as_others_or_one_for_the_kind_asked_for(folder: Path) -> None:
    with SodaraceWorld(WorldConfig(seconds=3.0)) as world:
        network = add_network(folder, world)
        near = world.terrain(NEW)
        found = open_run(folder).prompts_for(near, world.terrain)
        asked = [network_prompts(folder, near, world.terrain, GRID, f"height={h},width=15,mass=2") for h in (3, 9)]
    assert found.shape == (5, 4, 32) and len({rows.tobytes() for rows in found}) == 5
    features = torch.from_numpy(near.features)[None]
    np.testing.assert_array_equal(found, network.prompts_for(features).numpy())
    for prompt, height in zip(asked, (0.25, 0.75), strict=True):
        expected = network.prompts_for(features, torch.tensor([[height, 0.5, 0.25]]))
        np.testing.assert_array_equal(prompt, expected.numpy())
    assert not np.array_equal(*asked)


def test_a_kind_of_what_has_learnt_none_is_one_line(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write = ("write", "--terrain", "tunnel", "--from", str(folder), "--kind", "height=low")
    assert main_exit(*write) == 2
    with SodaraceWorld(WorldConfig(seconds=3.0)) as world:
        add_network(folder, world, kinds=False)
    assert main_exit(*write) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == second and "--kind: " in first and "method.prompts_per_terrain above 1" in first
    assert main_exit("write", "--terrain", "tunnel", "--kind", "height=low") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--kind: a registered model has prompts and no network" in line
