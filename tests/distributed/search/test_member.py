"""A member of a population, driven by hand: rounds, saving and restoring, and taking over another's state."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from distributed.checkpoint.manager import load_checkpoint, save_checkpoint
from distributed.checkpoint.serialization import pack
from distributed.search.member import evaluation_set, member_config
from softprompt.models.frozen import FrozenLM
from tests.distributed.tiny_runs import LETTERS
from tests.distributed.tiny_search import FIRST, SPACE, member_of, population, search_config
from tests.distributed.tiny_workers import LetterWorld


@pytest.fixture(scope="module")
def lm(tiny_lm) -> FrozenLM:
    return tiny_lm[0]


@pytest.fixture(scope="module")
def people(lm):
    torch.set_num_threads(1)
    return population(search_config(), lm)


@pytest.fixture(scope="module")
def donor(people, lm):
    """A member after its first round, its metrics and its state as a checkpoint gives it back."""
    member = member_of(people, lm)
    return member, member.round()


@pytest.fixture(scope="module")
def checkpoint(donor, tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("donor"), donor[0].loop.step, donor[0].state_dict())


@pytest.fixture
def state(checkpoint):
    return load_checkpoint(checkpoint).state


def learner_moments(member) -> torch.Tensor:
    return member.loop.learner.state_dict()["optimizer"]["state"][0]["exp_avg"]


def test_members_begin_behind_the_same_untuned_samples_and_draw_their_own(people, lm, donor):
    other = member_of(people, lm, 1)
    other.round()
    assert other.loop.untuned["fitness"].tolist() == donor[0].loop.untuned["fitness"].tolist()
    assert other.loop.rollouts == donor[0].loop.rollouts == 24 + 2 * 12
    assert not np.array_equal(other.loop.prompts, donor[0].loop.prompts)


def test_a_round_makes_its_steps_and_reports_fitness_on_the_evaluation_set(donor):
    member, metrics = donor
    assert (metrics["step"], metrics["trained_on"], member.done) == (2, 24, False)
    assert metrics["fitness"] == pytest.approx(np.mean([metrics["fitness/a"], metrics["fitness/e"]]))
    np.testing.assert_array_equal(member.fitness, [metrics["fitness/a"], metrics["fitness/e"]])


def test_members_have_seeds_of_their_own_and_one_evaluation_set():
    run = search_config()
    assert len({member_config(run, k, FIRST).train.seed for k in range(9)} | {run.train.seed}) == 10
    requests = evaluation_set(run, list(map(LetterWorld().terrain, LETTERS)))
    assert sum(n for r in requests for t, n in r.groups if t == 0) == run.search.evaluation_samples
    assert len({r.seed for r in requests}) == len(requests)


def test_saved_and_restored_it_goes_on_bit_for_bit(people, lm, state):
    whole = member_of(people, lm)
    rounds = [whole.round(), whole.round()]
    resumed = member_of(people, lm)
    resumed.load_state_dict(state)
    assert resumed.inherited is None
    assert resumed.round() == rounds[1]
    assert resumed.loop.prompts.tobytes() == whole.loop.prompts.tobytes()
    assert resumed.done and whole.done


@pytest.mark.parametrize("n", [2, 5])
def test_the_prompt_has_the_size_of_its_heir_and_moments_follow_their_rows(people, lm, donor, state, n):
    heir = member_of(people, lm, 1, method__n_soft_tokens=n)
    heir.load_state_dict(state)
    assert heir.loop.prompts.shape[1] == n == heir.loop.learner.source.n_soft_tokens
    carried, theirs = learner_moments(heir), learner_moments(donor[0])
    for mine, original in zip(carried, theirs, strict=True):
        known = [row for row in mine if row.any()]
        assert len(known) == min(n, 3)
        assert all(any(torch.equal(row, each) for each in original) for row in known)
    metrics = heir.round()
    assert metrics["step"] == 4 and metrics["n_soft_tokens"] == n


def test_a_resize_is_recorded_with_divergence_and_fitness_before_and_after(people, lm, donor, state):
    heir = member_of(people, lm, 1, method__n_soft_tokens=2)
    heir.load_state_dict(state)
    event = heir.inherited
    assert (event["member"], event["donor"], event["from"], event["to"], event["step"]) == (1, 0, 3, 2, 2)
    assert event["changed"] == {"method.n_soft_tokens": [3, 2]}
    assert event["fitness_donor"] == pytest.approx(donor[1]["fitness"])
    assert event["kl_distilled"] < event["kl_surgery"]
    assert {"fitness_surgery", "fitness_distilled"} <= set(event)


def test_a_copy_of_the_same_size_is_the_donors_prompt_with_the_heirs_settings(people, lm, donor, state):
    heir = member_of(people, lm, 2, optimizer__kwargs__lr=0.02, method__init_kl_coef=0.1)
    heir.load_state_dict(state)
    assert heir.loop.prompts.tobytes() == donor[0].loop.prompts.tobytes()
    assert torch.equal(learner_moments(heir), learner_moments(donor[0]))
    learner = heir.loop.learner.state_dict()
    assert learner["optimizer"]["param_groups"][0]["lr"] == 0.02
    assert learner["kl"]["value"] == pytest.approx(0.1)
    assert learner["elites"] == donor[0].loop.learner.state_dict()["elites"]
    heir.round()
    assert heir.loop.learner.state_dict()["optimizer"]["param_groups"][0]["lr"] == 0.02


@pytest.mark.parametrize(
    "changed", [{"method__estimator": "rloo"}, {"optimizer__name": "sgd"}, {"method__replay_size": 2}]
)
def test_a_learner_of_another_kind_takes_up_what_fits_it(people, lm, donor, state, changed):
    heir = member_of(people, lm, 1, **changed)
    heir.load_state_dict(state)
    assert heir.loop.prompts.tobytes() == donor[0].loop.prompts.tobytes()
    assert heir.round()["step"] == 4


def test_a_learning_rate_keeps_its_place_in_the_schedule(people, lm):
    run = search_config(scheduler__name="linear", scheduler__kwargs={"start_factor": 1.0, "end_factor": 0.0})
    crowd = population(run, lm)
    first = member_of(crowd, lm)
    first.round()
    heir = member_of(crowd, lm, 1, optimizer__kwargs__lr=0.1)
    heir.load_state_dict(first.state_dict())
    rates = [m.loop.learner.state_dict()["optimizer"]["param_groups"][0]["lr"] for m in (first, heir)]
    assert rates[1] == pytest.approx(2 * rates[0]) and 0 < rates[0] < 0.05


def linear(first: float, start: float = 1 / 3, end: float = 1.0, share: float = 0.0) -> float:
    return first * (start + (end - start) * share)


SCHEDULES = {
    "constant": ({}, lambda first, share: first),
    "cosine_annealing": ({}, lambda first, share: first * (1 + math.cos(math.pi * share)) / 2),
    "cosine_annealing to a floor": (
        {"eta_min": 0.004},
        lambda first, share: 0.004 + (first - 0.004) * (1 + math.cos(math.pi * share)) / 2,
    ),
    "linear": ({}, lambda first, share: linear(first, share=share)),
    "linear to zero": ({"start_factor": 0.5, "end_factor": 0.0}, lambda first, share: linear(first, 0.5, 0.0, share)),
}
"""By name: arguments, and the learning rate after a share of all steps, from the formula."""


@pytest.mark.parametrize("case", SCHEDULES)
def test_however_often_it_is_copied_a_learning_rate_is_what_its_schedule_says(people, lm, case):
    arguments, rate = SCHEDULES[case]
    settings = {"scheduler__name": case.split()[0], "scheduler__kwargs": arguments, "search__interval": 1}
    config = search_config(train__total_steps=6, warm_start__steps=0, **settings)
    crowd = replace(people, config=config)
    member = member_of(crowd, lm)
    for copies, lr in enumerate((0.05, 0.02, 0.02, 0.1, 0.01)):
        settings = {"optimizer__kwargs__lr": lr, "method__ppo_epochs": 1 + copies % 2}
        heir = member_of(crowd, lm, copies + 1, **settings)
        if copies:
            heir.load_state_dict(member.state_dict())
        share = heir.loop.step / 6
        learner = heir.loop.learner.state_dict()
        assert learner["optimizer"]["param_groups"][0]["lr"] == pytest.approx(rate(lr, share), rel=1e-9)
        member = heir
        member.round()
        assert member.loop.history[-1]["learning_rate_group_0"] == pytest.approx(rate(lr, share + 1 / 6), rel=1e-9)


def test_a_kl_coefficient_that_is_not_adapted_is_the_heirs_own(lm):
    crowd = population(search_config(method__init_kl_coef=0.05, method__target=0.001, method__horizon=10), lm)
    first = member_of(crowd, lm)
    first.round()
    state = first.state_dict()
    assert state["loop"]["learner"]["kl"]["value"] != 0.05
    state["settings"]["method.target"] = 0.001
    heir = member_of(crowd, lm, 1, **{"method.target": None, "method.init_kl_coef": 0.1})
    heir.load_state_dict(state)
    assert heir.loop.learner.state_dict()["kl"]["value"] == 0.1


def test_a_lineage_of_resizes_never_loses_its_way(people, lm):
    run = search_config(train__total_steps=20, search__interval=1, search__measure_surgery=False)
    crowd = population(run, lm)
    member = member_of(crowd, lm)
    member.round()
    for step, n in enumerate((5, 2, 3, 2, 5), start=1):
        state = member.state_dict()
        member = member_of(crowd, lm, step, method__n_soft_tokens=n)
        member.load_state_dict(state)
        metrics = member.round()
        assert metrics["step"] == step + 1 and member.loop.prompts.shape[1] == n
        assert len(member.loop.history) == step + 2  # the warm start, then each step


@pytest.mark.parametrize(
    "settings",
    [
        {"method__prompt_source": "ten", "ten__hidden": 8},
        {"method__reparameterize": "residual"},
        {"model__num_layers_unfrozen": 1},
    ],
)
def test_networks_and_layers_are_taken_over_whole_with_their_moments(lm, settings):
    space = {name: value for name, value in SPACE.items() if name != "method.n_soft_tokens"}
    crowd = population(search_config(search__space=space, **settings), lm)
    first = member_of(crowd, lm)
    first.round()
    heir = member_of(crowd, lm, 1, optimizer__kwargs__lr=0.02)
    heir.load_state_dict(first.state_dict())
    donor, ours = (m.loop.learner.state_dict() for m in (first, heir))
    for part in ("source", "layers"):
        left, right = pack(donor[part])[0], pack(ours[part])[0]
        assert all(torch.equal(left[name], right[name]) for name in left)
    left, right = (pack(each["optimizer"]["state"])[0] for each in (donor, ours))
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    rates = [group["lr"] for group in ours["optimizer"]["param_groups"]]
    assert rates[0] == 0.02 and rates[1:] == [group["lr"] for group in donor["optimizer"]["param_groups"]][1:]
    assert heir.round()["step"] == 4


@pytest.mark.parametrize("source", ["table", "ten"])
def test_members_with_several_prompts_begin_with_the_kinds_that_the_untuned_samples_had(lm, source):
    run = search_config(method__prompts_per_terrain=2, method__replay_bar=0.0, method__prompt_source=source)
    crowd = replace(population(run, lm), niches=LetterWorld.niches)
    known = crowd.untuned["learner"]["teachers"]["archive"]
    assert any(known["cells"])
    member = member_of(crowd, lm, method__prompts_per_terrain=2, method__prompt_source=source)
    assert member.loop.learner.teachers.archive.state_dict() == known
    member.loop.advance()
    assert member.loop.stage == "steps" and max(member.loop.learner.teachers.owned) >= 0
    assert crowd.untuned["learner"]["teachers"]["archive"] == known
