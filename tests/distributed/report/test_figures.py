"""Invariants of a run's picture."""

import numpy as np
import pytest

from distributed.report.figures import different, draw_different, draw_run
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


def test_different_walkers_of_a_terrain_share_a_scale_and_have_their_fitness_below():
    shows = [show("left_wall", f"height {k}") for k in range(5)] + [show("tunnel", "")]
    far = shows[0].scene
    shows[0] = Show("left_wall", "height 0", 12.0, "x = 1", Scene(far.points * 9, far.lines, None, far.floor))
    figure = different(shows, " units", {"left_wall": "left_wall: five"})
    parts = figure.subfigs
    assert [part.get_suptitle() for part in parts] == ["left_wall: five", "tunnel"]
    first = [axes for axes in parts[0].axes if axes.axison]
    assert [axes.get_title() for axes in first] == [f"height {k}" for k in range(5)]
    assert {axes.get_xlabel() for axes in first} == {"12.0 units"}
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in first}) == 1
    assert first[1].get_xlim()[1] >= far.points[..., 0].max() * 9, "as far as the one that goes farthest"


def test_different_walkers_that_cannot_be_drawn_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="no walker"):
        draw_different([Show("flat", "best", 0.0, "x")], tmp_path / "walkers.png")
    assert not list(tmp_path.iterdir())
