"""The sodarace world: one Score per attempt, in order, whatever the programs do."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from terrains.base import Attempt
from terrains.sodarace import failures
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.sandbox import SandboxLimits
from terrains.sodarace.world import SodaraceWorld, WorldConfig

STILL = """\
import math
def make_walker():
    wc = walker_creator()
    wc.add_muscle(wc.add_joint(0, 0), wc.add_joint(3, 0), True, 0.0, 0.0)
    return wc.get_walker()
"""
LARGE = STILL.replace("add_joint(3, 0)", "add_joint(40, 10)")
BAD = {
    "import math\ndef make_walker(:\n": failures.SYNTAX,
    "import math\ndef make_walker():\n    while True:\n        pass\n": failures.TIMEOUT,
    "import math\ndef make_walker():\n    return [0] * 10**10\n": failures.MEMORY,
    "import math\ndef make_walker():\n    return 3\n": failures.NOT_A_WALKER,
    "import math\n": failures.NAME,
    "": failures.NAME,
    "#" * 100_000: failures.TOO_LONG,
    SEEDS["square"].replace("(6, 0)", "(float('nan'), 0)"): failures.INVALID_WALKER,
    SEEDS["square"].replace("(6, 0)", "(0, 0)"): failures.INVALID_WALKER,
    STILL: failures.DID_NOT_MOVE,
    LARGE: failures.DOES_NOT_FIT,
}


def test_one_score_per_attempt_in_order(world):
    programs = [p for pair in zip(BAD, [*SEEDS.values(), *list(SEEDS.values())[:4]], strict=True) for p in pair]
    scores = world.score([Attempt("tunnel", p) for p in programs])
    assert [s.failure for s in scores[::2]] == list(BAD.values())
    assert all(s.valid for s in scores[1::2])
    alone = [world.score([Attempt("tunnel", p)])[0] for p in programs]
    assert scores == alone
    for s in scores:
        assert math.isfinite(s.reward) and math.isfinite(s.fitness) and "\n" not in s.detail
        assert (s.reward, s.fitness) == (-0.1, 0.0) if s.failure else s.reward == s.fitness / 100.0 > 0


def test_no_attempts_have_no_scores(world):
    assert world.score([]) == []


def test_equal_programs_are_run_once_and_scored_equal(monkeypatch):
    world = SodaraceWorld(WorldConfig(seconds=2.0))
    runs: list[str] = []
    run = world._sandbox.run
    monkeypatch.setattr(world._sandbox, "run", lambda program: runs.append(program) or run(program))
    with world:
        attempts = [Attempt(t, SEEDS["radial"]) for t in ("flat", "bumpy", "flat")]
        first = world.score(attempts)
        again = world.score(attempts)
    assert first[0] == first[2] and first[0] != first[1]
    assert again == first
    assert runs == [SEEDS["radial"]]
    counts = world.counters()
    assert (counts["attempts"], counts["remembered"], counts["programs"], counts["simulated"]) == (6, 2, 1, 2)
    assert counts["sandbox_seconds"] > 0 and counts["simulation_seconds"] > 0


@pytest.mark.parametrize(("threads", "cache"), [(3, 1000), (1, 0), (2, 4)])
def test_scores_do_not_depend_on_threads_batch_or_cache(threads, cache):
    attempts = [Attempt(t, p) for p in [*SEEDS.values(), STILL, LARGE] for t in ("tunnel", "bumpy(seed=2)")]
    with SodaraceWorld(WorldConfig(seconds=2.0)) as plain:
        scores = plain.score(attempts)
    with SodaraceWorld(WorldConfig(seconds=2.0, threads=threads, cache=cache)) as world:
        assert world.score(attempts) == scores
        assert world.score(attempts[::-1]) == scores[::-1]
        assert [world.score([attempt])[0] for attempt in attempts[:6]] == scores[:6]


def test_terrain_is_known_by_its_canonical_name(world):
    terrain = world.terrain("bumpy( seed=3, amplitude = 4 )")
    assert terrain.name == "bumpy(amplitude=4,seed=3)"
    assert terrain == world.terrain(terrain.name)
    assert terrain.instruction == "import math\n"
    assert terrain.features.dtype == np.float32
    attempts = [Attempt(name, SEEDS["wheel"]) for name in ("bumpy( seed=3, amplitude = 4 )", terrain.name)]
    assert len(set(world.score(attempts))) == 1


@pytest.mark.parametrize(
    ("name", "message"), [("bumpyy", "did you mean 'bumpy'"), ("tunnel(heigth=9)", "did you mean 'height'")]
)
def test_misspelt_terrain_is_refused_and_the_nearest_one_named(world, name, message):
    with pytest.raises(ValueError, match=message):
        world.terrain(name)
    with pytest.raises(ValueError, match=message):
        world.score([Attempt(name, SEEDS["square"])])


def test_fingerprint_covers_whatever_decides_a_score():
    configs = [
        WorldConfig(),
        WorldConfig(seconds=10.0),
        WorldConfig(min_fitness=2.0),
        WorldConfig(limits=SandboxLimits(seconds=0.5)),
    ]
    worlds = [SodaraceWorld(c) for c in configs]
    prints = [w.terrain(t).fingerprint for w in worlds for t in ("flat", "bumpy", "bumpy(seed=1)")]
    assert len(set(prints)) == len(prints)
    assert SodaraceWorld().terrain("flat").fingerprint == worlds[0].terrain("flat").fingerprint
    assert SodaraceWorld(WorldConfig(threads=2, cache=1)).terrain("flat").fingerprint == prints[0]


def test_walker_of_a_bad_program_is_an_error_of_one_line(world):
    with pytest.raises(ValueError, match=r"^invalid_walker: joints_at_one_place: joints 0 and 1 are at one place$"):
        world.walker(SEEDS["square"].replace("(6, 0)", "(0, 0)"))
    assert len(world.walker(SEEDS["square"]).joints) == 5


def test_close_is_safe_twice_and_scoring_starts_again():
    world = SodaraceWorld(WorldConfig(seconds=1.0, cache=0))
    first = world.score([Attempt("flat", SEEDS["square"])])
    world.close()
    world.close()
    assert world.score([Attempt("flat", SEEDS["square"])]) == first
    world.close()


def test_terrains_imports_neither_torch_nor_the_packages_above_it():
    code = (
        "import sys, terrains.sodarace, terrains.sodarace.map_elites.corpus, terrains.render.still; "
        "print({m.split('.')[0] for m in sys.modules} & {'torch', 'ray', 'softprompt', 'distributed', 'matplotlib'})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert out.stdout.strip() == "set()"
