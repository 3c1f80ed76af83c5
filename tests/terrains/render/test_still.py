"""Invariants of terrains.render.still and terrains.render.player."""

import json

import numpy as np
import pytest

from terrains.render.player import player_data
from terrains.render.still import draw_scene, view_of
from terrains.scene import Scene

MUSCLES = np.array([[0, 1], [1, 2]])


def scene(points, floor=((-500.0, 0.0), (500.0, 0.0)), ceiling=None, rods=None):
    ceiling = None if ceiling is None else np.array(ceiling, float)
    return Scene(points, MUSCLES, rods, np.array(floor, dtype=float), ceiling)


def walk(n_frames=20, step=1.0):
    body = np.array([[0.0, 2.0], [6.8, 2.0], [3.4, 8.0]])
    return body + np.arange(n_frames)[:, None, None] * np.array([step, 0.0])


def test_player_data_is_strict_json_of_one_decimal():
    frames = walk() + np.pi / 100 - 0.04
    data = json.loads(json.dumps(player_data(scene(frames, rods=np.array([True, False]))), allow_nan=False))
    shown = np.array(data["frames"]).reshape(frames.shape)
    assert np.abs(shown - frames).max() <= 0.05 + 1e-9
    assert all(round(value, 1) == value for frame in data["frames"] for value in frame)
    assert data["muscles"] == [[0, 1, 1], [1, 2, 0]]
    assert data["ceiling"] is None


def test_frames_end_where_the_simulation_blew_up():
    frames = walk()
    frames[12:, 1] = np.nan
    assert len(player_data(scene(frames))["frames"]) == 12
    with pytest.raises(ValueError, match="no finite frame"):
        player_data(scene(frames * np.nan))


def test_floor_under_the_walk_is_kept_whole_and_the_rest_left_out():
    xs = np.arange(-5000.0, 5000.0, 10.0)
    floor = np.stack([xs, np.sin(xs)], axis=1)
    shown = np.array(player_data(scene(walk(), floor))["floor"])
    assert len(shown) < 100
    assert shown[0, 0] <= -400 and shown[-1, 0] >= 400
    assert np.allclose(np.diff(shown[:, 0]), 10.0)


def test_a_floor_of_two_far_points_is_kept():
    assert player_data(scene(walk(), [[-9e4, 0.0], [9e4, 0.0]]))["floor"] == [[-9e4, 0.0], [9e4, 0.0]]


def test_wrong_frames_are_refused():
    with pytest.raises(ValueError, match=r"points must be \(frames, points, 2\)"):
        player_data(scene(np.zeros((4, 6))))


def test_still_picture_shows_every_joint_of_every_moment(tmp_path):
    ceiling = [[5, 900], [5, 30], [20, 30], [20, 900]]
    tunnel = scene(walk(), [[-50, 0], [30, 0], [30, 40], [60, 40]], ceiling)
    path = tmp_path / "walker.png"
    axes = draw_scene(tunnel, path, at=(0.0, 1.0), title="a walk")
    assert path.read_bytes().startswith(b"\x89PNG")
    drawn = [points for c in axes.collections if len(points := c.get_offsets()) == 3]
    assert np.allclose(drawn, walk()[[0, -1]])
    left, right = axes.get_xlim()
    assert left < 0 and right > 25.8
    assert axes.get_xlabel() == "distance (world units)"


def test_a_scene_without_ground_and_lines_is_played_and_drawn(tmp_path):
    bare = Scene(walk(), np.empty((0, 2)))
    data = player_data(bare)
    assert data["floor"] is None and data["ceiling"] is None and data["muscles"] == []
    assert list(draw_scene(bare, tmp_path / "bare.png").patches) == []
    assert bare.seconds == pytest.approx(20 / 30)


def test_a_view_of_several_scenes_holds_each_of_them_and_fills_its_ground():
    near, far = scene(walk()), scene(walk(step=9.0))
    left, bottom, right, top = view_of(near, far)
    assert (left, bottom) <= (view_of(near)[0], view_of(near)[1]) and right == view_of(far)[2] > view_of(near)[2]
    axes = draw_scene(near, view=(left, bottom, right, top))
    assert axes.get_xlim() == (left, right) and axes.get_ylim() == (bottom, top)
    ground = axes.patches[0].get_xy()
    assert ground[:, 0].min() <= left and ground[:, 0].max() >= right
