"""Animated pictures of walkers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from terrains.render import moving
from terrains.render.moving import HEIGHT, MOST_BYTES, WIDTH, Lane, animate
from terrains.scene import Scene
from terrains.sodarace.ground.names import make_ground

MUSCLES = np.array([[0, 1], [1, 2]])


def scene_of(points, lines, rods, name):
    ground = make_ground(name)
    return Scene(points, lines, rods, ground.floor, ground.ceiling, radius=2.0)


def lane(frames=12, ground="tunnel", title="a walker", step=2.0):
    body = np.array([[0.0, 2.0], [6.8, 2.0], [3.4, 8.0]])
    walk = body + np.arange(frames)[:, None, None] * np.array([step, 0.0])
    return Lane(title, scene_of(walk, MUSCLES, np.array([True, False]), ground))


@pytest.mark.parametrize("ending", [".gif", ".apng"])
def test_every_frame_is_there_and_lasts_as_long_as_it_was_simulated(tmp_path, ending):
    path = animate([lane(), lane(8, "bumpy")], tmp_path / f"walk{ending}", 0.05)
    with Image.open(path) as picture:
        assert picture.n_frames == 12
        assert picture.size == (WIDTH, 2 * HEIGHT + 2)
        assert picture.info["loop"] == 0
        for k in range(12):
            picture.seek(k)
            assert picture.info["duration"] == 50


def test_a_lane_shows_the_walker_the_ground_and_what_is_below_a_ceiling(tmp_path):
    path = animate([lane(step=0.0)], tmp_path / "walk.apng", 0.05)
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB"), dtype=int)
    dark = (pixels[60:] < 60).all(axis=2)
    assert 3 * 40 < dark.sum() < 0.05 * dark.size, "three joints"
    assert abs(np.flatnonzero(dark.any(axis=0)).mean() - WIDTH / 2) < 20, "the camera is on the walker"
    earth, sky = pixels[-3, WIDTH // 4], pixels[60, WIDTH // 3]
    assert earth.sum() < sky.sum() - 60


def test_frames_from_a_blow_up_on_are_left_out(tmp_path):
    bad = lane()
    bad.scene.points[5:] = np.nan
    with Image.open(animate([bad], tmp_path / "walk.gif", 0.05)) as picture:
        assert picture.n_frames == 5
    bad.scene.points[:] = np.nan
    with pytest.raises(ValueError, match="no finite frame"):
        animate([bad], tmp_path / "none.gif", 0.05)
    with pytest.raises(ValueError, match="no scene"):
        animate([], tmp_path / "none.gif", 0.05)
    assert not (tmp_path / "none.gif").exists()


def test_any_title_can_be_drawn(tmp_path):
    for title in ("", "line\nline\x1b[2J", "\ud800", "$x^$", "long " * 100):
        animate([lane(2, title=title)], tmp_path / "walk.gif", 0.05)


def noisy(frames, joints=12, seed=0):
    """A walker that looks otherwise in every frame, so that hardly anything can be left out of a picture of it."""
    body = np.random.default_rng(seed).uniform(0, 60, (frames, joints, 2))
    muscles = np.array([[a, b] for a in range(joints) for b in range(a)])
    return Lane("noise", scene_of(body, muscles, None, f"bumpy(seed={seed})"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".gif", ".apng"])
def test_a_long_picture_of_many_walkers_stays_below_five_megabytes_and_lasts_as_long(tmp_path, ending):
    path = animate([noisy(203, seed=k) for k in range(5)], tmp_path / f"walk{ending}", 0.05)
    assert path.stat().st_size < MOST_BYTES == 5_000_000
    with Image.open(path) as picture:
        assert picture.n_frames > 1
        assert sum(_durations(picture)) == 203 * 50


@pytest.mark.parametrize("most", [120_000, 15_000])
def test_a_picture_is_as_fine_as_its_bytes_allow(tmp_path, monkeypatch, most):
    full = animate([noisy(23)], tmp_path / "full.gif", 0.05)
    monkeypatch.setattr(moving, "MOST_BYTES", most)
    path = animate([noisy(23)], tmp_path / "walk.gif", 0.05)
    assert path.stat().st_size < most < full.stat().st_size
    with Image.open(path) as picture:
        if picture.n_frames > 1:
            assert sum(_durations(picture)) == 23 * 50
        colours = np.array(picture.convert("RGB"), dtype=int).reshape(-1, 3)
    assert ((colours[:, 0] - colours[:, 2]) > 120).any(), "muscles keep their colour"


def test_what_cannot_be_small_enough_is_an_error_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(moving, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="too many"):
        animate([noisy(3)], tmp_path / "walk.gif", 0.05)
    assert not list(tmp_path.iterdir())


def _durations(picture):
    for k in range(picture.n_frames):
        picture.seek(k)
        yield picture.info["duration"]
