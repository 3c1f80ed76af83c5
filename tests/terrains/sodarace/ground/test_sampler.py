"""Terrains drawn at a difficulty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrains.sodarace import physics
from terrains.sodarace.ground.families import parameters_of
from terrains.sodarace.ground.names import canonical_name, make_ground, parse_name
from terrains.sodarace.ground.sampler import DRAWN_FAMILIES, EASY_TO_HARD, sample_terrains
from terrains.sodarace.programs.seeds import SEEDS
from tests.terrains.sodarace.test_physics import any_walker, no_walker_passes

SOME = st.lists(st.sampled_from([*DRAWN_FAMILIES, "tunnel+bumpy", "bumpy(spacing=30)+slope"]), min_size=1, max_size=4)
ENDS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda ends: tuple(sorted(ends)))


def drawn(name):
    """All that was drawn of a name: (part, family, parameter, value)."""
    return {
        (k, part.family, known.name, part.parameters.get(known.name, known.default))
        for k, part in enumerate(parse_name(name))
        for known in parameters_of(part.family).values()
        if known.name in EASY_TO_HARD[part.family] or known.name == "seed"
    }


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SOME, ENDS, st.integers(0, 9), st.integers(0, 9))
def test_the_splits_share_no_seed_and_no_parameter_whatever_is_drawn(families, difficulty, seed, other):
    train = sample_terrains(families, 12, difficulty, "train", seed)
    held_out = sample_terrains(families, 12, difficulty, "held_out", other)
    assert len(set(train)) == len(set(held_out)) == 12
    assert train == [canonical_name(name) for name in train]
    fixed = {each for each in drawn("bumpy(spacing=30)+slope") if each[2] == "spacing"}
    assert not set.union(*map(drawn, train)) & set.union(*map(drawn, held_out)) - fixed
    for name in train + held_out:
        make_ground(name)


def test_a_sample_is_decided_by_its_seed_and_begins_as_a_shorter_one():
    families = ["bumpy", "tunnel", "slope"]
    names = sample_terrains(families, 30, (0.1, 0.6), seed=3)
    assert sample_terrains(families, 11, (0.1, 0.6), seed=3) == names[:11]
    assert not set(sample_terrains(families, 30, (0.1, 0.6), seed=4)) & set(names)
    assert [parse_name(name)[0].family for name in names[:4]] == ["bumpy", "tunnel", "slope", "bumpy"]


@pytest.mark.parametrize("family", DRAWN_FAMILIES)
def test_difficulty_takes_every_parameter_from_easy_to_hard(family):
    for parameter, (easy, hard) in EASY_TO_HARD[family].items():
        default = parameters_of(family)[parameter].default
        means = []
        for difficulty in (0.0, 0.5, 1.0):
            names = sample_terrains([family], 20, difficulty)
            values = [parse_name(name)[0].parameters.get(parameter, default) for name in names]
            share = (np.array(values) - easy) / (hard - easy)
            assert (np.abs(share - difficulty) <= 0.1 + 0.02 / abs(hard - easy)).all()
            means.append(share.mean())
        assert means[0] < 0.1 < means[1] < 0.9 < means[2]


def test_difficulties_are_spread_evenly_over_their_range():
    names = sample_terrains(["slope"], 40, (0.2, 0.8))
    angles = np.sort([parse_name(name)[0].parameters["angle"] for name in names])
    even = np.linspace(0.2, 0.8, 40) * 24 + 1
    assert np.abs(angles - even).max() < 24 * 0.12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"families": ["flat"]}, "flat has no parameter left to draw"),
        ({"families": ["tunnel(height=20,mouth=60)"]}, "no parameter left to draw"),
        ({"families": ["file(path=a.csv)"]}, "no parameter left to draw"),
        ({"families": ["bumby"]}, "did you mean 'bumpy'"),
        ({"families": []}, "at least one"),
        ({"count": 0}, "at least one"),
        ({"difficulty": 1.2}, "from 0 to 1"),
        ({"difficulty": (0.6, 0.1)}, "the lower end first"),
        ({"difficulty": float("nan")}, "from 0 to 1"),
        ({"split": "test"}, "train and held_out"),
        ({"count": 600, "families": ["slope"], "difficulty": 1.0}, "fewer terrains that differ"),
    ],
)
def test_what_cannot_be_drawn_is_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_terrains(**{"families": ["bumpy"], "count": 2} | arguments)


@st.composite
def any_sampled(draw):
    family = draw(st.sampled_from([*DRAWN_FAMILIES, "tunnel+bumpy", "tunnel+stairs", "gap+hills", "left_wall+slope"]))
    [name] = sample_terrains([family], 1, draw(st.floats(0, 1)), seed=draw(st.integers(0, 99)))
    return make_ground(name)


def test_no_walker_passes_through_any_sampled_ground():
    settings(max_examples=30, deadline=None, derandomize=True)(given(any_walker(), any_sampled())(no_walker_passes))()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_walker_passes_through_any_sampled_ground_whatever_comes():
    settings(max_examples=1000, deadline=None)(given(any_walker(), any_sampled())(no_walker_passes))()


@pytest.mark.parametrize("family", DRAWN_FAMILIES)
def test_a_classic_walker_crosses_every_easy_terrain_and_hard_ones_are_harder(world, family):
    walkers = [world.walker(SEEDS[name]) for name in ("runner", "galloper", "wheel")]
    ways = {}
    for difficulty in (0.0, 1.0):
        grounds = [make_ground(name) for name in sample_terrains([family], 2, difficulty)]
        pairs = [(w, g) for w in walkers for g in grounds if physics.fits(w, g)]
        ways[difficulty] = np.abs(physics.simulate(*zip(*pairs, strict=True), 20.0)).max()
    assert ways[0.0] > 60 and ways[1.0] < 1.1 * ways[0.0]
