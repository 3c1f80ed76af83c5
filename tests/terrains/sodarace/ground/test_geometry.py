"""Grounds and their features, family by family."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from terrains.sodarace.ground.families import FAMILIES
from terrains.sodarace.ground.geometry import END, PLACES, PROFILES, SKY, WALL_HEIGHT
from terrains.sodarace.ground.names import make_ground
from terrains.sodarace.world import SodaraceWorld


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
    ground = make_ground(name)
    assert x in vertical(ground.floor)
    assert ground.spawn == spawn
    outside, inside = (x - 1, x + 1) if x < 0 else (x + 1, x - 1)
    assert ground.floor_between(outside, outside) == WALL_HEIGHT
    assert ground.floor_between(inside, inside) == 0.0


def test_boxes_of_bumpy_ground_have_vertical_sides_and_come_from_the_seed():
    floor = make_ground("bumpy(seed=3)").floor
    steps = np.diff(floor, axis=0)
    assert ((steps[:, 0] == 0) | (steps[:, 1] == 0)).all()
    assert np.array_equal(floor, make_ground("bumpy(seed=3)").floor)
    assert not np.array_equal(floor, make_ground("bumpy(seed=4)").floor)
    highest = make_ground("bumpy(amplitude=30,seed=3)").floor[2:-2, 1].max()
    assert highest == pytest.approx(2.5 * floor[2:-2, 1].max())


def test_tunnel_has_open_sky_over_the_start_and_a_ceiling_beyond_its_mouth():
    ground = make_ground("tunnel(height=30,mouth=40)")
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
    grounds = [make_ground(f) for f in FAMILIES] + [make_ground("bumpy(seed=1)")]
    features = [g.features() for g in grounds]
    assert {f.shape for f in features} == {(54,)} and {f.dtype for f in features} == {np.dtype(np.float32)}
    assert len({f.tobytes() for f in features}) == len(grounds)
    assert all((np.abs(f) <= 2).all() for f in features)
    assert len({g.fingerprint() for g in grounds}) == len(grounds)
    assert make_ground("flat").fingerprint() == make_ground("flat").fingerprint()


# What trained results rest on: digests of the geometry, of the rules with it, and of the first 36 features.
PINNED = {
    "flat": ("379e72f3d3e12848", "c0a17e46e68d90fb", "97859440801b09dc"),
    "left_wall": ("9d49fca9e135d880", "2e1459ab6948daeb", "1ed23269f7d1a60e"),
    "left_wall(distance=25)": ("9920518191a0b690", "e51a05a5ccb2f824", "3eb5d12422f5f912"),
    "right_wall": ("3242f40083d1fa09", "1772e8866abe507b", "a2bd4d54e8b94591"),
    "right_wall(distance=37.5)": ("0ae93780832e7cf7", "81b5b0d661d38f66", "191f42063eac22da"),
    "bumpy": ("72aa5dacad224899", "0bdfc3524b55d4c8", "a277c2916f511a68"),
    "bumpy(amplitude=4,spacing=25,seed=3)": ("014cb4cb47fd4989", "491e66862853dc54", "c88574dba2ba4353"),
    "bumpy(seed=7)": ("daa894b338d47bf5", "e30f66d2b04cb9cc", "11a84a581e8b395a"),
    "tunnel": ("8023d52bbc0792fb", "0607e3bb823174b6", "7cc1e5ee7711a228"),
    "tunnel(height=30,mouth=40)": ("79f5d06232f56e75", "3f9b2166ddcc72eb", "8508f78909b6c684"),
    "hills": ("6afb18e7b945c4b4", "1cd6b50ddf8fb634", "27756797f5f2390c"),
    "hills(amplitude=20,wavelength=60,seed=3)": ("25729da112dc9a78", "ec5950ea7877f27c", "88490a927938077b"),
    "stairs": ("b5d4286951a34bf8", "3e48ff80a00662a3", "a6635e15fe706070"),
    "gap": ("9142ce46a762abf6", "3274b349231b35b1", "e6995dd5db9cb46c"),
    "slope": ("8381111cf8cc30ff", "5c329bde6823e820", "57836a9dd01373b7"),
    "tunnel+bumpy": ("e7815f657d4a8864", "51f0714f0e1f34f3", "0b60f4731f2cdafb"),
}


@pytest.mark.parametrize("name", PINNED)
def test_grounds_that_prompts_were_trained_on_are_what_they_were(name):
    with SodaraceWorld() as world:
        terrain = world.terrain(name)
        ground = world.ground(name)
    first = hashlib.sha256(ground.features()[:36].tobytes()).hexdigest()
    assert (ground.fingerprint()[:16], terrain.fingerprint[:16], first[:16]) == PINNED[name]
    assert terrain.name == name


def test_features_are_heights_clearance_and_slopes_of_one_length():
    def profiles(name):
        return make_ground(name).features().reshape(PROFILES, len(PLACES))

    assert profiles("flat").tolist() == [[0.0] * 18, [2.0] * 18, [0.0] * 18]
    heights, clearance, slopes = profiles("slope(angle=-20,first=10)+tunnel(height=25)")
    away = np.abs(PLACES)
    assert heights == pytest.approx(np.clip(-(away - 10) * np.tan(np.pi / 9) / 50, -2, 0), abs=1e-6)
    assert slopes[away > 10] == pytest.approx((-np.sign(PLACES) * np.tan(np.pi / 9))[away > 10])
    # A ceiling at right angles to a slope is further off straight upwards.
    assert (
        clearance[away > 60] == pytest.approx(0.5 / np.cos(np.pi / 9), abs=2e-3) and (clearance[away < 55] == 2).all()
    )
    assert profiles("gap(first=60,width=40,depth=300,spacing=200)")[0].tolist().count(-2.0) == 4


def test_hills_are_smooth_and_come_from_the_seed():
    floor = make_ground("hills(amplitude=20,wavelength=60,seed=3)").floor[1:-1]
    rise = np.diff(floor[:, 1]) / np.diff(floor[:, 0])
    assert np.abs(rise).max() < 3 and np.abs(np.diff(rise)).max() < 1 and floor[:, 1].min() == 0
    assert 20 < floor[:, 1].max() <= 30
    assert np.array_equal(floor, make_ground("hills(amplitude=20,wavelength=60,seed=3)").floor[1:-1])
    assert make_ground("hills").fingerprint() != make_ground("hills(seed=1)").fingerprint()


def test_stairs_gaps_and_slopes_have_the_sizes_their_names_say():
    stairs = make_ground("stairs(height=7,length=30,first=50)")
    assert [stairs.floor_between(x, x) for x in (-81, -79, -51, 0, 49, 51, 79, 81)] == [14, 7, 7, 0, 0, 7, 7, 14]
    assert make_ground("stairs(height=9,first=40)").floor[1:-1, 1].max() == 9 * 24
    assert make_ground("stairs(height=16,first=40)").floor[1:-1, 1].max() == 16 * 18, "not above 300"
    gap = make_ground("gap(width=10,depth=70,spacing=50,first=30)")
    assert [gap.floor_between(x, x) for x in (-35, 29, 31, 39, 41, 89, 91)] == [-70, 0, -70, -70, 0, 0, -70]
    slope = make_ground("slope(angle=20,first=30)")
    assert [slope.floor_between(x, x) for x in (-130, 130)] == pytest.approx([100 * np.tan(np.pi / 9)] * 2)
    assert slope.floor_between(600, 600) == slope.floor_between(900, 900) < WALL_HEIGHT
