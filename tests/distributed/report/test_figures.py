"""Invariants of a run's picture."""

import numpy as np
import pytest

from distributed.report.figures import draw_run
from distributed.report.shows import Show
from terrains.scene import Scene
from terrains.sodarace.ground.names import make_ground


def show(terrain, title):
    frames = np.random.default_rng(0).uniform(0, 30, (5, 3, 2))
    muscles = np.array([[0, 1], [1, 2]])
    ground = make_ground(terrain)
    return Show(terrain, title, 12.0, "x = 1", Scene(frames, muscles, None, ground.floor, ground.ceiling))


def test_the_picture_is_written_also_when_a_terrain_lacks_a_kind_of_walker(tmp_path):
    shows = [show("left_wall", "best untuned"), show("tunnel", "best untuned"), show("tunnel", "best tuned")]
    path = draw_run([*shows, Show("tunnel", "median tuned", 0.0, "no walker")], tmp_path / "walkers.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_no_walker_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="no walker"):
        draw_run([Show("flat", "best", 0.0, "x")], tmp_path / "walkers.png")
    assert not list(tmp_path.iterdir())
