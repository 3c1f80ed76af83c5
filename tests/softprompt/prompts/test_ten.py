"""The terrain embedding network: what it starts as, what it learns, what it says of terrains it never saw."""

from __future__ import annotations

import copy

import pytest
import torch

from softprompt.prompts.table import take_prompts
from softprompt.prompts.ten import TenSettings, TerrainEmbeddingNetwork
from softprompt.prompts.ten_io import SETTINGS_FILE, WEIGHTS_FILE, load_network, save_network
from tests.accuracy import assert_both_accurate

pytestmark = pytest.mark.arithmetic

BODIES = [
    TenSettings(hidden=16),
    TenSettings(hidden=16, layers=1, terrain_id=True),
    TenSettings(body="conv", hidden=16, layers=3, channels=2),
]


def features(n: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 12, generator=torch.Generator().manual_seed(seed)) * 2


def network(settings: TenSettings = BODIES[0], seed: int = 0) -> TerrainEmbeddingNetwork:
    shared = torch.randn(3, 8, generator=torch.Generator().manual_seed(9))
    return TerrainEmbeddingNetwork(shared, features(), settings, seed)


def fit(ten: TerrainEmbeddingNetwork, targets: torch.Tensor, known: torch.Tensor | None = None) -> float:
    optimizer = torch.optim.Adam(ten.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (ten.prompts(known) - targets).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("settings", BODIES)
def test_at_the_start_every_terrain_has_the_shared_prompt(settings):
    ten = network(settings)
    assert ten.n_soft_tokens == 3
    for prompts in (ten.prompts(), ten.prompts_for(features(5, seed=1) * 9)):
        assert torch.equal(prompts, ten.shared.expand(len(prompts), -1, -1))


@pytest.mark.parametrize("settings", BODIES)
def test_terrains_come_to_differ_and_a_terrain_alike_gets_a_prompt_alike(settings):
    ten, targets = network(settings), torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(2))
    assert fit(ten, targets) < 1e-2
    near = ten.prompts_for(features() + 1e-3)
    assert (near - targets).square().mean() < 2e-2


def test_a_new_terrain_has_the_id_of_the_nearest_trained_one_and_one_that_is_told_as_new_that_of_another():
    places = torch.tensor([[0.0], [1.0], [3.0], [7.0]]) * torch.ones(12)
    shared = torch.randn(3, 8, generator=torch.Generator().manual_seed(9))
    ten = TerrainEmbeddingNetwork(shared, places, BODIES[1])
    fit(ten, torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(2)))
    exact = copy.deepcopy(ten).double()

    def assert_ids(found: torch.Tensor, places: torch.Tensor, ids: list[int]) -> None:
        ours, truth = (of._prompts(places.to(of.shared), torch.tensor(ids)) for of in (ten, exact))
        assert_both_accurate(found, ours, truth)

    assert_ids(ten.prompts_for(places), places, [0, 1, 2, 3])
    assert_ids(ten.prompts_for(places[[2]] + 0.5), places[[2]] + 0.5, [2])
    told, hidden = ten.prompts(), ten.prompts(torch.tensor([True, False, True, False]))
    assert torch.equal(told[[0, 2]], hidden[[0, 2]])
    assert_ids(hidden[[1, 3]], places[[1, 3]], [0, 2])
    assert (told[1] - hidden[1]).abs().max() > 1e-3


def test_the_only_terrain_of_a_network_keeps_its_id_when_it_is_told_as_new():
    ten = TerrainEmbeddingNetwork(torch.zeros(2, 4), features()[:1], BODIES[1])
    assert torch.equal(ten.prompts(torch.tensor([False])), ten.prompts())


def test_a_call_gives_the_prompts_of_the_terrains_asked_for():
    ten, index = network(), torch.tensor([2, 0, 2])
    assert torch.equal(ten(index), take_prompts(ten.prompts(), index))


@pytest.mark.parametrize("settings", BODIES)
def test_a_terrain_unlike_all_others_gets_a_bounded_prompt(settings):
    ten = network(settings)
    fit(ten, torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(2)))
    far, farther = ten.prompts_for(torch.full((1, 12), 1e3)), ten.prompts_for(torch.full((1, 12), 1e9))
    assert torch.equal(far, farther) and bool(far.isfinite().all())


def test_a_place_where_all_trained_terrains_are_alike_does_not_blow_up_another_terrain():
    same = features()
    same[:, 5] = 1.0
    ten = TerrainEmbeddingNetwork(torch.zeros(2, 4), same, TenSettings(hidden=8))
    assert 0.1 < ten.scale[5] < 1
    flat = TerrainEmbeddingNetwork(torch.zeros(2, 4), features()[:1], TenSettings(hidden=8))
    assert torch.equal(flat.scale, torch.ones(12)) and bool(flat.prompts().isfinite().all())


def test_the_same_seed_is_the_same_network_and_no_one_elses_chance_is_used():
    torch.manual_seed(4)
    first = network(seed=1).state_dict()
    after = torch.rand(3)
    torch.manual_seed(4)
    assert torch.equal(after, torch.rand(3))
    assert all(torch.equal(first[name], tensor) for name, tensor in network(seed=1).state_dict().items())
    assert not torch.equal(first["body.0.weight"], network(seed=2).state_dict()["body.0.weight"])


@pytest.mark.parametrize(
    ("shared", "shape", "settings", "words"),
    [
        ((2, 4), (3, 7), TenSettings(body="conv", channels=2), "equal profiles"),
        ((2, 4), (3,), TenSettings(), "features of shape"),
        ((0, 4), (3, 6), TenSettings(), "n_soft_tokens, d_model"),
    ],
)
def test_shapes_that_fit_nothing_are_refused_in_words(shared, shape, settings, words):
    with pytest.raises(ValueError, match=words):
        TerrainEmbeddingNetwork(torch.zeros(shared), torch.zeros(shape), settings)


@pytest.mark.parametrize("settings", BODIES)
def test_a_saved_network_says_the_same_of_any_terrain(settings, tmp_path):
    ten = network(settings)
    fit(ten, torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(2)))
    save_network(tmp_path, ten, ["a", "b", "c", "d"])
    loaded, names = load_network(tmp_path)
    assert names == ["a", "b", "c", "d"] and loaded.settings == settings
    unseen = features(6, seed=5)
    assert torch.equal(loaded.prompts_for(unseen), ten.prompts_for(unseen))
    assert torch.equal(loaded.prompts(), ten.prompts())
    with pytest.raises(ValueError, match="reads 12 features of a terrain, and these are 9"):
        loaded.prompts_for(torch.zeros(1, 9))


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (SETTINGS_FILE, "{", "cannot be read"),
        (SETTINGS_FILE, "{}", "cannot be read"),
        (SETTINGS_FILE, None, "there is no"),
        (WEIGHTS_FILE, "garbage", "cannot be read"),
        (WEIGHTS_FILE, None, "no terrain embedding network"),
    ],
)
def test_a_damaged_network_is_one_line(file, content, words, tmp_path):
    save_network(tmp_path, network(), list("abcd"))
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=words) as error:
        load_network(tmp_path)
    assert "\n" not in str(error.value)
