"""Grounds and their names."""

from __future__ import annotations

import numpy as np
import pytest

from terrains.sodarace.ground import END, FAMILIES, SKY, WALL_HEIGHT, canonical_name, make_ground, parse_name


def vertical(line):
    return line[:-1][line[:-1, 0] == line[1:, 0], 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_floor_runs_left_to_right_between_the_worlds_walls(family):
    floor = make_ground(family).floor
    assert floor.dtype == np.float64
    assert (np.diff(floor[:, 0]) >= 0).all()
    assert np.abs(np.diff(floor, axis=0)).sum(axis=1).min() > 0, "a segment without length"
    assert floor[0].tolist() == [-END, WALL_HEIGHT] and floor[-1].tolist() == [END, WALL_HEIGHT]


@pytest.mark.parametrize(
    ("name", "x", "spawn"),
    [("left_wall(distance=25)", -25.0, "left"), ("right_wall(distance=25)", 25.0, "right")],
)
def test_walls_are_vertical_and_stand_at_their_distance(name, x, spawn):
    ground = make_ground(*parse_name(name))
    assert x in vertical(ground.floor)
    assert ground.spawn == spawn
    outside, inside = (x - 1, x + 1) if x < 0 else (x + 1, x - 1)
    assert ground.floor_between(outside, outside) == WALL_HEIGHT
    assert ground.floor_between(inside, inside) == 0.0


def test_boxes_of_bumpy_ground_have_vertical_sides_and_come_from_the_seed():
    floor = make_ground("bumpy", {"seed": 3}).floor
    steps = np.diff(floor, axis=0)
    assert ((steps[:, 0] == 0) | (steps[:, 1] == 0)).all()
    assert np.array_equal(floor, make_ground("bumpy", {"seed": 3}).floor)
    assert not np.array_equal(floor, make_ground("bumpy", {"seed": 4}).floor)
    highest = make_ground("bumpy", {"amplitude": 30.0, "seed": 3}).floor[2:-2, 1].max()
    assert highest == pytest.approx(2.5 * floor[2:-2, 1].max())


def test_tunnel_has_open_sky_over_the_start_and_a_ceiling_beyond_its_mouth():
    ground = make_ground("tunnel", {"height": 30.0, "mouth": 40.0})
    assert ground.ceiling_between(-39.0, 39.0) == SKY
    assert ground.ceiling_between(41.0, 60.0) == ground.ceiling_between(-60.0, -41.0) == 30.0
    assert ground.ceiling_between(0.0, 41.0) == 30.0, "the least height counts"
    assert sorted({-40.0, 40.0}) == sorted(x for x in vertical(ground.ceiling) if abs(x) < END)
    assert make_ground("flat").ceiling_between(-10.0, 10.0) == np.inf


def test_segments_are_floor_then_ceiling():
    ground = make_ground("tunnel")
    segments, kinds = ground.segments()
    assert len(segments) == len(ground.floor) + len(ground.ceiling) - 2
    assert np.array_equal(segments[: len(ground.floor) - 1, :2], ground.floor[:-1])
    assert kinds.tolist() == [0] * (len(ground.floor) - 1) + [1] * (len(ground.ceiling) - 1)


def test_features_tell_terrains_apart_and_fingerprints_too():
    grounds = [make_ground(f) for f in FAMILIES] + [make_ground("bumpy", {"seed": 1})]
    features = [g.features() for g in grounds]
    assert {f.shape for f in features} == {(36,)} and {f.dtype for f in features} == {np.dtype(np.float32)}
    assert len({f.tobytes() for f in features}) == len(grounds)
    assert all((f >= 0).all() and (f <= 2).all() for f in features)
    assert len({g.fingerprint() for g in grounds}) == len(grounds)
    assert make_ground("flat").fingerprint() == make_ground("flat").fingerprint()


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("flat", "flat"),
        ("  bumpy ( seed = 3 , amplitude=4 ) ", "bumpy(amplitude=4,seed=3)"),
        ("bumpy(amplitude=12.0, seed=0)", "bumpy"),
        ("left_wall()", "left_wall"),
        ("tunnel(height=17.5)", "tunnel(height=17.5)"),
        ("bumpy(seed=2000000001)", "bumpy(seed=2000000001)"),
    ],
)
def test_canonical_name_names_the_same_terrain(said, canonical):
    name = canonical_name(*parse_name(said))
    assert name == canonical
    assert canonical_name(*parse_name(name)) == name
    assert make_ground(*parse_name(name)).fingerprint() == make_ground(*parse_name(said)).fingerprint()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bumpyy", "did you mean 'bumpy'"),
        ("left wall", "is not a terrain"),
        ("tunel(height=20)", "did you mean 'tunnel'"),
        ("tunnel(heigth=20)", "did you mean 'height'"),
        ("flat(height=20)", "flat has no parameter 'height'"),
        ("zzz", "there are flat, left_wall"),
        ("tunnel(height=1)", "out of range, 5 to 300"),
        ("tunnel(height=nan)", "out of range"),
        ("tunnel(height=)", "is not a number"),
        ("bumpy(seed=1.5)", "is not a whole number"),
        ("", "is not a terrain"),
    ],
)
def test_misspelt_name_is_refused_and_the_nearest_one_named(name, message):
    with pytest.raises(ValueError, match=message):
        parse_name(name)
