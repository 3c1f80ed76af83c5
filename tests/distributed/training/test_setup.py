"""Putting a run together."""

import pytest
from ray import cloudpickle

from distributed.config.worlds import make_world, world_factory
from distributed.errors import UserError
from distributed.infra.ray_cluster import is_our_own, room_for
from distributed.training.setup import make_pool, terrain_names
from tests.distributed import tiny_runs
from tests.distributed.conftest import LocalRay
from tests.distributed.tiny_workers import LetterWorld


def pool_of(lm, **settings):
    config = tiny_runs.config(**settings)
    return make_pool(config, tiny_runs.LETTERS, tiny_runs.instructions(lm), lm.export(), LetterWorld)


def test_on_one_machine_there_are_as_many_workers_as_have_room_and_a_word_on_it(
    local_ray, tiny_lm, caplog, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pool_of(tiny_lm[0], rollouts__workers=7, rollouts__cpus_per_worker=0.5) as pool:
        assert pool.n_workers == 4
    assert "room for 4 of 7 rollout workers" in caplog.text


def test_workers_that_can_never_start_are_one_clear_line(local_ray, tiny_lm, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"no worker can ever start: each asks for 64 CPU .* of 2 CPU free; lower"):
        pool_of(tiny_lm[0], rollouts__cpus_per_worker=64)


def test_a_cluster_of_others_may_grow_so_all_workers_are_asked_for(local_ray, tiny_lm, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pool_of(tiny_lm[0], rollouts__workers=7, rollouts__cpus_per_worker=0.5) as pool:
        assert pool.n_workers == 7


def test_room_counts_whole_workers_and_every_resource(local_ray):
    assert [room_for(cpus) for cpus in (2, 1, 0.75, 0.1)] == [1, 2, 2, 20]
    assert room_for(0.5, gpus=1.0) == 0


def test_a_cluster_is_our_own_unless_it_has_an_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert is_our_own(LocalRay()) and is_our_own(LocalRay(address=None)) and not is_our_own(LocalRay(address="auto"))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert not is_our_own(LocalRay())


def test_workers_get_terrains_from_files_as_they_were_when_the_run_began(tmp_path):
    path = tmp_path / "canyon.csv"
    path.write_text("x,floor\n-50,0\n50,10\n")
    names = [f"file(path={path})", f"tunnel+file(path={path})", "bumpy"]
    config = tiny_runs.config(terrains__names=names)
    factory = cloudpickle.dumps(world_factory(config))
    with make_world(config) as world:
        known = [world.terrain(name) for name in terrain_names(world, config)]
    path.unlink()
    with cloudpickle.loads(factory)() as world:
        assert [world.terrain(terrain.name) for terrain in known] == known


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tunnel", "tunnel(height=20)"], "tunnel is there more than once under two spellings"),
        (["flat+tunnel", "tunnel"], r"flat\+tunnel, which is the same as tunnel, is there more than once"),
        (["tunel"], "terrains.names: no terrain 'tunel': did you mean 'tunnel'"),
        (["tunnel+tunnel(height=30)"], "two parts have a ceiling"),
        (["file(path=nowhere.csv)"], "terrains.names: file: there is no 'nowhere.csv'"),
    ],
)
def test_a_terrain_that_is_not_there_or_there_twice_is_one_clear_line(names, message):
    config = tiny_runs.config(terrains__names=names)
    with pytest.raises(UserError, match=message), make_world(config) as world:
        terrain_names(world, config)
