"""Grounds from files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from terrains.sodarace.ground.geometry import END, SKY, WALL_HEIGHT
from terrains.sodarace.ground.names import grounds_from_files, make_ground
from terrains.sodarace.world import SodaraceWorld

CANYON = "x,floor,ceiling\n-200,30,\n-60,30,\n-60,0,\n0,0,\n50,0,25\n90,5,25\n90,12,40\n150,12,40\n200,0,\n"


@pytest.fixture
def canyon(tmp_path):
    path = tmp_path / "a canyon, (1)+.csv"
    path.write_text(CANYON)
    return f"file(path='{path}')"


def test_a_table_becomes_a_floor_and_a_ceiling(canyon):
    ground = make_ground(canyon)
    assert [ground.floor_between(x, x) for x in (-999, -61, -59, 70, 91, 175, 999)] == [30, 30, 0, 2.5, 12, 6, 0]
    assert [min(ground.ceiling_between(x, x), SKY) for x in (0, 70, 120, 175)] == [SKY, 25, 40, SKY]
    assert ground.floor[0].tolist() == [-END, WALL_HEIGHT] and ground.floor[-1].tolist() == [END, WALL_HEIGHT]


def test_arrays_become_the_same_ground_as_a_table(canyon, tmp_path):
    ground = make_ground(canyon)
    ceiling = np.array([[50, 25], [90, 25], [90, 40], [150, 40.0]])
    np.savez(tmp_path / "c.npz", floor=ground.floor[2:-2], ceiling=ceiling)
    assert make_ground(f"file(path={tmp_path}/c.npz)").fingerprint() == ground.fingerprint()
    np.savez(tmp_path / "open.npz", floor=ground.floor[2:-2])
    assert make_ground(f"file(path={tmp_path}/open.npz)").ceiling is None


def test_a_file_is_known_by_its_content_and_not_by_its_place(canyon, tmp_path):
    (tmp_path / "other.csv").write_text(CANYON.removeprefix("x,floor,ceiling\n").replace(",", " , "))
    (tmp_path / "changed.csv").write_text(CANYON.replace("12", "13"))
    with SodaraceWorld() as world:
        first, same, changed = (
            world.terrain(n) for n in (canyon, f"file(path={tmp_path}/other.csv)", f"file(path={tmp_path}/changed.csv)")
        )
    assert first.fingerprint == same.fingerprint != changed.fingerprint


def test_a_world_that_is_given_grounds_needs_no_file(canyon, tmp_path):
    names = ["tunnel", canyon, f"{canyon} + hills(seed=3)"]
    grounds = pickle.loads(pickle.dumps(grounds_from_files(names)))
    with SodaraceWorld() as here:
        known = [here.terrain(name) for name in names]
    next(tmp_path.iterdir()).unlink()
    with SodaraceWorld(grounds=grounds) as there:
        assert [there.terrain(terrain.name) for terrain in known] == known
        with pytest.raises(ValueError, match="there is no"):
            there.terrain(f"{canyon}+bumpy")


BAD = {
    "there is no": None,
    "the floor has 0 points": b"",
    "the floor has 1 points": b"x,floor\n1,2\n",
    "line 2 is not x,floor": b"0,0\n1\n",
    "line 3 is not x,floor or x,floor,ceiling": b"x,floor\n0,0\n1,high\n",
    "line 1 is not x,floor": b"0,0,1,2\n1,1,1,1\n",
    "line 2 holds a number that is not finite": b"0,0\nnan,3\n",
    "line 1 holds a number that is not finite": b"0,0,inf\n1,1,\n",
    "goes back from 5 to 4": b"0,0\n5,1\n4,2\n",
    "the floor has no width": b"3,0\n3,1\n",
    "leaves the world": b"0,0\n1001,0\n",
    "heights to 400": b"0,0\n10,1e9\n",
    "the ceiling at x = 5 has no width": b"0,0,\n5,0,9\n9,0,\n",
    "the ceiling at x = 5 is not above the floor": b"0,0,9\n5,10,9\n9,0,9\n",
    "is not text": b"\xff\xfe\x00\x01",
    "10,000": b"0,0\n1,1\n" * 6000,
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_table_is_one_clear_line(message, tmp_path):
    path = tmp_path / "bad.csv"
    if BAD[message] is not None:
        path.write_bytes(BAD[message])
    with pytest.raises(ValueError, match=message) as error:
        make_ground(f"file(path={path})")
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"line": np.zeros((3, 2))}, "it has to hold floor, and may hold ceiling; it holds line"),
        ({"floor": np.zeros(4)}, r"floor has shape \(4,\)"),
        ({"floor": np.array([[None, 1], [2, 3]])}, "Object arrays cannot be loaded"),
        ({"floor": np.array([[0, np.nan], [2, 3]])}, "not finite"),
        ({"floor": np.array([["a", "b"], ["c", "d"]])}, "has to be numbers"),
        ({"floor": np.array([[0.0, 1], [2, 3]]), "ceiling": np.array([[0.0, 2], [2, 2]])}, "is not above the floor"),
        (None, "is no npz file"),
    ],
)
def test_bad_arrays_are_one_clear_line(arrays, message, tmp_path):
    path = tmp_path / "bad.npz"
    if arrays is None:
        path.write_bytes(b"PK\x03\x04 and nothing behind it")
    else:
        np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as error:
        make_ground(f"file(path={path})")
    assert "\n" not in str(error.value)


def test_neither_a_folder_nor_another_ending_is_a_ground(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="cannot read"):
        make_ground(f"file(path={tmp_path}/folder.csv)")
    with pytest.raises(ValueError, match="neither .csv nor .npz"):
        make_ground(f"file(path={tmp_path}/ground.txt)")
