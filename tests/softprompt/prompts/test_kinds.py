"""A network that makes several prompts a terrain: told apart by where their kinds lie, and for kinds never wanted."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch

from softprompt.prompts.kinds import waves
from softprompt.prompts.ten import TenSettings, TerrainEmbeddingNetwork
from softprompt.prompts.ten_io import load_network, save_network

pytestmark = pytest.mark.arithmetic

BODIES = [
    TenSettings(hidden=32),
    TenSettings(hidden=32, layers=1, terrain_id=True),
    TenSettings(body="conv", hidden=32, channels=2),
]
N_TERRAINS, N_POINTS = 4, 3


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(settings: TenSettings = BODIES[0], points: bool = True) -> TerrainEmbeddingNetwork:
    shared, features = torch.randn(3, 8, generator=chance(9)), torch.rand(N_TERRAINS, 12, generator=chance(0))
    places = torch.rand(N_TERRAINS, N_POINTS, 2, generator=chance(1)) if points else None
    return TerrainEmbeddingNetwork(shared, features, settings, points=places)


def fitted(settings: TenSettings = BODIES[0]) -> tuple[TerrainEmbeddingNetwork, torch.Tensor]:
    """A network, and prompts by terrain and kind that it has learnt: as unlike one another as prompts can be."""
    return copy.deepcopy(_fitted(settings))


@cache
def _fitted(settings: TenSettings) -> tuple[TerrainEmbeddingNetwork, torch.Tensor]:
    ten, wanted = network(settings), torch.randn(N_TERRAINS * N_POINTS, 3, 8, generator=chance(2))
    optimizer = torch.optim.Adam(ten.parameters(), lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        (ten.prompts() - wanted).square().mean().backward()
        optimizer.step()
    return ten, wanted


@pytest.mark.parametrize("settings", BODIES)
def test_all_start_as_the_shared_prompt_and_each_learns_what_it_is_to_be(settings):
    start = network(settings).prompts()
    assert torch.equal(start, network(settings).shared.expand(N_TERRAINS * N_POINTS, -1, -1))
    ten, wanted = fitted(settings)
    assert (ten.prompts() - wanted).square().mean() < 2e-2
    index = torch.tensor([7, 0, 7])
    assert torch.equal(ten(index), ten.prompts()[index])


def test_two_points_give_two_prompts_and_the_gradient_of_one_reaches_what_reads_points():
    ten, _ = fitted()
    one, other = ten.prompts_for(ten.features[:1], ten.points[0, :2])
    assert (one - other).abs().max() > 0.1
    ten.zero_grad()
    ten.prompts()[0].square().sum().backward()
    read = ten.kinds.layers[0].weight.grad[:, ten.settings.hidden :]
    assert bool((read != 0).any(dim=0).all())


def test_a_prompt_whose_kind_moves_becomes_that_of_the_place():
    ten, _ = fitted()
    before, points = ten.prompts().detach(), ten.points.clone()
    points[0, 0] = points[0, 1]
    ten.move(points)
    after = ten.prompts().detach()
    assert torch.equal(after[1:], before[1:]) and not torch.equal(after[0], before[0])
    assert torch.allclose(after[0], before[1], atol=1e-4)


def test_a_network_without_points_begins_as_it_always_did():
    plain, several = network(BODIES[1], points=False), network(BODIES[1])
    ours, theirs = plain.state_dict(), several.state_dict()
    assert not any(name.startswith(("points", "kinds")) for name in ours)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert set(theirs) - set(ours) == {"points"} | {
        f"kinds.layers.{k}.{of}" for k in (0, 2) for of in ("weight", "bias")
    }
    assert plain.prompts().shape == (N_TERRAINS, 3, 8)


@pytest.mark.parametrize("settings", BODIES)
def test_a_new_terrain_has_the_kinds_of_the_nearest_trained_one_or_those_asked_for(settings):
    ten, _ = fitted(settings)
    near = ten.features[[2, 0]] + 1e-4
    found = ten.prompts_for(near)
    assert found.shape == (2 * N_POINTS, 3, 8)
    own = ten.prompts().detach().unflatten(0, (N_TERRAINS, N_POINTS))[[2, 0]].flatten(0, 1)
    assert (found - own).abs().max() < 0.05 < (own[0] - own[1]).abs().max()
    asked = ten.prompts_for(near, ten.points[0, [1]])
    assert asked.shape == (2, 3, 8) and (asked[1] - own[N_POINTS + 1]).abs().max() < 0.05


def test_hidden_ids_are_those_of_terrains_whatever_the_kind():
    ten, _ = fitted(BODIES[1])
    told, hidden = ten.prompts(), ten.prompts(torch.tensor([True, False, True, True]))
    differ = (told != hidden).flatten(1).any(dim=1).view(N_TERRAINS, N_POINTS)
    assert differ.tolist() == [[False] * 3, [True] * 3, [False] * 3, [False] * 3]


@pytest.mark.parametrize("settings", BODIES)
def test_a_saved_network_says_the_same_of_any_terrain_and_kind(settings, tmp_path):
    ten, _ = fitted(settings)
    save_network(tmp_path, ten, list("abcd"))
    loaded, _ = load_network(tmp_path)
    unseen, points = torch.rand(6, 12, generator=chance(5)), torch.rand(2, 2, generator=chance(6))
    assert torch.equal(loaded.prompts(), ten.prompts())
    assert torch.equal(loaded.prompts_for(unseen), ten.prompts_for(unseen))
    assert torch.equal(loaded.prompts_for(unseen, points), ten.prompts_for(unseen, points))


def test_points_that_do_not_fit_are_refused_in_words():
    features = torch.zeros(1, 12)
    with pytest.raises(ValueError, match="reads no points"):
        network(points=False).prompts_for(features, torch.zeros(1, 2))
    for shape in ((2, 3), (2,), (0, 2)):
        with pytest.raises(ValueError, match="reads points of shape"):
            network().prompts_for(features, torch.zeros(shape))
    for shape in ((4, 2), (3, 1, 2), (4, 0, 2)):
        with pytest.raises(ValueError, match="points of shape"):
            TerrainEmbeddingNetwork(torch.zeros(2, 4), torch.zeros(4, 12), BODIES[0], points=torch.zeros(shape))


def test_places_a_twentieth_apart_are_read_as_far_ones_and_those_outside_as_the_ends():
    read = waves((torch.arange(20)[:, None] + 0.5) / 20)
    apart = torch.cdist(read, read) + 9 * torch.eye(20)
    assert apart.min() > 1
    assert torch.equal(waves(torch.tensor([[-3.0, 7.0]])), waves(torch.tensor([[0.0, 1.0]])))
