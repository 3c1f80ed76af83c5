"""The space of a search: mistakes said before anything starts, draws that are even, values that stay in bounds."""

from __future__ import annotations

from collections import Counter

import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.schedulers.pbt import _explore

from distributed.config import Range, RunConfig
from distributed.config.load import load_config, with_settings
from distributed.errors import UserError
from distributed.search.schedulers import FaultTolerantPBT, make_scheduler, rounds_of_a_run
from distributed.search.space import check_space, clamp, explore, first_members, most_elites, mutations
from distributed.search.trainable import bundles, members_that_fit
from tests.distributed.cli.test_cli import ROOT

SPACE = {
    "method.n_soft_tokens": [1, 4, 8, 20, 50],
    "method.initialize_from_vocab": [True, False],
    "optimizer.kwargs.lr": {"low": 0.01, "high": 0.1, "log": True},
}


def search(**settings: object) -> RunConfig:
    return with_settings(RunConfig(), {f"search.{name}": value for name, value in settings.items()})


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"method.n_soft_token": [1, 2]}, "no setting method.n_soft_token; did you mean method.n_soft_tokens?"),
        (
            {"method.n_soft_tokens": [4, 0]},
            "search.space.method.n_soft_tokens: method.n_soft_tokens: must be at least 1",
        ),
        ({"method.estimator": ["rloo", "rlo"]}, "did you mean rloo?"),
        ({"optimizer.kwargs.lr": {"low": -1.0, "high": 0.1}}, "optimizer.kwargs.lr: must be above 0"),
        ({"method.ppo_epochs": {"low": 1, "high": 3}}, "method.ppo_epochs: must be a whole number"),
        ({"terrains.names": [["tunnel"]]}, "terrains.names cannot differ between members"),
        ({"warm_start.samples": [8, 16]}, "warm_start.samples cannot differ between members: it is drawn once"),
        ({"method.gen_kwargs.temperature": [0.5, 1]}, "method.gen_kwargs.temperature cannot differ between members"),
        ({"train.batch_size": [32, 48], "train.minibatch_size": [32]}, "batch_size 48 is no multiple"),
    ],
)
def test_a_mistake_in_the_space_is_one_clear_line(space, words):
    with pytest.raises(UserError) as error:
        check_space(search(space=space))
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"space": {"optimizer.kwargs.lr": {"low": 0.1, "high": 0.01}}}, "low 0.1 is not below high 0.01"),
        ({"space": {"optimizer.kwargs.lr": {"low": 0, "high": 1, "log": True}}}, "with log it has to be above 0"),
        ({"space": {"optimizer.kwargs.lr": 3}}, "must be a list"),
        ({"members": 1}, "pbt needs at least 2 members"),
        ({"concurrent": 2}, "concurrent is null"),
        ({"quantile": 0.6}, "search.quantile: must be at most 0.5"),
        ({"algorithm": "pbtt"}, "did you mean pbt?"),
    ],
)
def test_settings_of_a_search_that_cannot_be_are_refused(settings, words):
    with pytest.raises(UserError) as error:
        search(**settings)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["search_quickstart", "search"])
def test_the_configurations_that_come_along_have_a_space_that_can_be_searched(name):
    check_space(load_config(ROOT / f"configs/{name}.yml"))


def test_first_members_are_spread_evenly_and_drawn_from_the_seed_alone():
    first = first_members(search(space=SPACE, members=10))
    assert Counter(each["method.n_soft_tokens"] for each in first) == dict.fromkeys([1, 4, 8, 20, 50], 2)
    assert Counter(each["method.initialize_from_vocab"] for each in first) == {True: 5, False: 5}
    rates = sorted(each["optimizer.kwargs.lr"] for each in first)
    tenths = [0.01 * 10 ** (k / 10) for k in range(11)]
    assert all(low <= rate <= high for low, rate, high in zip(tenths, rates, tenths[1:], strict=False))
    assert first == first_members(search(space=SPACE, members=10, algorithm="random"))
    assert first != first_members(with_settings(search(space=SPACE, members=10), {"train.seed": 1}))


def test_values_stay_in_their_lists_and_ranges_however_often_they_move():
    config = search(space=SPACE)
    space, settings = config.search.space, first_members(config)[0]
    seen = set()
    for _ in range(300):
        settings, _ = _explore(settings, mutations(space), 0.25, (1.2, 0.8), explore(space))
        assert settings["method.n_soft_tokens"] in SPACE["method.n_soft_tokens"]
        assert type(settings["method.initialize_from_vocab"]) is bool
        assert 0.01 <= settings["optimizer.kwargs.lr"] <= 0.1
        seen.add(settings["method.n_soft_tokens"])
    assert seen == set(SPACE["method.n_soft_tokens"])


def test_what_left_its_range_is_brought_back_to_the_end():
    space = {"a": Range(low=1, high=2), "b": (1, 2)}
    assert clamp(space, {"a": 5, "b": 9, "c": 7}) == {"a": 2, "b": 9, "c": 7}


def test_one_word_chooses_the_algorithm():
    assert isinstance(make_scheduler(search(), 2), FaultTolerantPBT)
    assert isinstance(make_scheduler(search(algorithm="asha"), 2), ASHAScheduler)
    assert type(make_scheduler(search(algorithm="random"), 2)) is FIFOScheduler


def test_a_last_round_may_be_shorter():
    config = with_settings(search(interval=3), {"train.total_steps": 7})
    assert rounds_of_a_run(config) == 3


def test_a_member_gets_room_for_its_learner_and_its_workers():
    config = with_settings(search(cpus_per_member=0.5, members=4), {"rollouts.cpus_per_worker": 0.25})
    assert bundles(config) == [{"CPU": 0.5}, {"CPU": 0.25}, {"CPU": 0.25}]
    assert members_that_fit(config, [{"CPU": 2.0}]) == 2
    assert members_that_fit(config, [{"CPU": 64.0}]) == 4
    assert bundles(with_settings(config, {"ray.enabled": False})) == [{"CPU": 0.5}]


def test_a_member_is_not_torn_between_nodes_by_a_sum():
    config = with_settings(search(cpus_per_member=2), {"rollouts.workers": 1, "rollouts.cpus_per_worker": 1})
    assert members_that_fit(config, [{"CPU": 2.0}, {"CPU": 1.0}]) == 1
    with pytest.raises(UserError, match="no member can ever start"):
        members_that_fit(config, [{"CPU": 1.0}] * 9)


def test_a_request_that_can_never_be_met_names_what_is_asked_and_what_there_is():
    config = with_settings(search(gpus_per_member=1), {"rollouts.workers": 3})
    with pytest.raises(UserError) as error:
        members_that_fit(config, [{"CPU": 2.0, "node:x": 1.0}])
    line = str(error.value)
    assert "1 CPU, 1 GPU and 3 x 1 CPU" in line and "have 2 CPU;" in line and "search.gpus_per_member" in line


@pytest.mark.parametrize(
    ("settings", "space", "words"),
    [
        ({"method.prompt_source": "ten"}, SPACE, "method.prompt_source: the network of a ten cannot be carried"),
        ({"method.reparameterize": "residual"}, SPACE, "method.reparameterize: the network behind prompts"),
        ({"model.num_layers_unfrozen": 2}, SPACE, "model.num_layers_unfrozen: layers trained beside prompts"),
        ({"method.initialize_from": "configs"}, SPACE, "method.initialize_from: a saved prompt has one size"),
        ({}, {"method.prompt_source": ["table", "ten"]}, "method.prompt_source cannot differ between members of pbt"),
        ({"method.prompt_source": "ten"}, {"ten.hidden": [8, 16]}, "ten.hidden cannot differ between members of pbt"),
    ],
)
def test_what_members_of_pbt_could_not_take_over_is_refused(settings, space, words, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=words) as error:
        check_space(with_settings(search(space=space), settings))
    assert "\n" not in str(error.value)


def test_a_random_search_may_compare_kinds_of_prompts() -> None:
    space = SPACE | {"method.prompt_source": ["table", "ten"], "ten.hidden": [8, 16]}
    check_space(search(space=space, algorithm="random"))


def test_untuned_samples_keep_as_many_elites_as_any_member_learns_from() -> None:
    base = with_settings(search(), {"method.replay_size": 2, "warm_start.elites": 3})
    assert most_elites(base) == 3
    for name, choices, most in (("method.replay_size", [1, 7], 7), ("warm_start.elites", [9, 2], 9)):
        assert most_elites(with_settings(base, {"search.space": {name: choices}})) == most
    assert most_elites(with_settings(base, {"search.space": {"warm_start.elites": [1]}})) == 2
