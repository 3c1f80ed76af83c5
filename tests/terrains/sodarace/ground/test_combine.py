"""Several grounds as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrains.sodarace.ground.geometry import END, SKY, WALL_HEIGHT, Ground, height_at
from terrains.sodarace.ground.names import make_ground
from terrains.sodarace.ground.sampler import sample_terrains
from tests.terrains.sodarace.test_physics import least_gap

OPEN = ["bumpy", "hills", "stairs", "gap", "slope"]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(OPEN), min_size=2, max_size=3), st.integers(0, 99), st.floats(0, 1))
def test_a_combined_floor_is_the_sum_of_the_floors(families, seed, difficulty):
    names = [sample_terrains([family], 1, difficulty, seed=seed + k)[0] for k, family in enumerate(families)]
    parts, whole = [make_ground(name) for name in names], make_ground("+".join(names))
    x = np.random.default_rng(seed).uniform(-END, END, 200)
    for each in x:
        total = sum(height_at(part.floor, each) for part in parts)
        assert height_at(whole.floor, each) == pytest.approx(min(total, WALL_HEIGHT), abs=1e-6)
    steps = np.diff(whole.floor, axis=0)
    assert (steps[:, 0] >= 0).all() and np.abs(steps).sum(axis=1).min() > 0, "a segment without length"
    assert whole.floor[0].tolist() == [-END, WALL_HEIGHT] and whole.floor[-1].tolist() == [END, WALL_HEIGHT]
    assert make_ground("+".join(reversed(names))).fingerprint() == whole.fingerprint()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.sampled_from(OPEN), st.integers(0, 99), st.floats(0, 1), st.floats(5, 80))
def test_a_tunnel_over_another_floor_is_nowhere_narrower_than_it_says(family, seed, difficulty, height):
    [below] = sample_terrains([family], 1, difficulty, seed=seed)
    whole = make_ground(f"tunnel(height={height},mouth=50)+{below}")
    floor = make_ground(below).floor
    segments = np.hstack([floor[:-1], floor[1:]])
    segments = segments[(segments[:, 2] > -350) & (segments[:, 0] < 350)]
    x = np.concatenate([-np.linspace(50.1, 250, 300), np.linspace(50.1, 250, 300)])
    points = np.array([(each, whole.ceiling_between(each, each)) for each in x])
    assert least_gap(points, segments).min() > 0.97 * height
    assert whole.ceiling_between(-49, 49) == SKY


def test_a_tunnel_over_level_floor_is_as_high_as_it_says():
    ground = make_ground("tunnel(height=15)+stairs(height=6,length=60,first=70)")
    assert [ground.ceiling_between(x, x) for x in (-100, 100, 160, 220)] == [21, 21, 27, 33]


def test_a_wall_stays_a_wall_with_anything_on_top_of_it():
    ground = make_ground("left_wall(distance=25)+bumpy+gap+slope")
    assert ground.spawn == "left"
    assert {ground.floor_between(x, x) for x in (-900, -200, -90, -26)} == {WALL_HEIGHT}
    assert ground.floor_between(-24, -22) < 20


def test_what_is_higher_than_a_wall_is_cut_off():
    ground = make_ground("slope(angle=35,first=40)+slope(angle=35,first=40)")
    assert ground.floor[:, 1].max() == WALL_HEIGHT
    assert ground.floor_between(100, 100) == pytest.approx(120 * np.tan(np.radians(35)))


def test_the_ceiling_stays_as_it_is_over_a_floor_that_adds_nothing():
    assert np.array_equal(make_ground("tunnel+flat").ceiling, make_ground("tunnel").ceiling)
    assert make_ground("flat+tunnel").fingerprint() == make_ground("tunnel").fingerprint()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tunnel+tunnel(height=30)", r"tunnel\+tunnel\(height=30\): two parts have a ceiling"),
        ("left_wall+right_wall", "left edge at a wall and another with its right edge"),
    ],
)
def test_parts_that_do_not_go_together_are_told(name, message):
    with pytest.raises(ValueError, match=message):
        make_ground(name)
    assert isinstance(make_ground("left_wall+left_wall"), Ground)
