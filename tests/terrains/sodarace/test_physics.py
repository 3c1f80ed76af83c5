"""What the simulation promises, whatever the walker."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from terrains.sodarace import physics
from terrains.sodarace.ground.families import FAMILIES, parameters_of
from terrains.sodarace.ground.names import Part
from terrains.sodarace.ground.names import make_ground as ground
from terrains.sodarace.walker import Walker
from tests.terrains.sodarace.box2d_reference import random_walkers

RADIUS = physics.NODE_RADIUS
SLACK = 0.05
"""How deep a node may sink into what it is pushed against, world units: a fortieth of its radius."""


def with_rods(walker, seed=0):
    rigid = np.random.default_rng(seed).random(len(walker.rigid)) < 0.2
    return replace(walker, rigid=rigid)


def two_joints(amplitude=1.0, phase=0.0, rigid=False, length=4.0):
    return Walker(
        np.array([[0.0, 0.0], [length, 0.0]]),
        np.array([[0, 1]]),
        np.array([amplitude]),
        np.array([phase]),
        np.array([rigid]),
    )


WALKERS = [*random_walkers(10, seed=0), *(with_rods(w, k) for k, w in enumerate(random_walkers(6, seed=1)))]
GROUNDS = ["flat", "left_wall", "right_wall", "bumpy", "tunnel(height=40,mouth=60)"]


@pytest.mark.arithmetic
def test_a_result_does_not_depend_on_the_batch_its_order_or_the_threads():
    walkers = [w for w in WALKERS for _ in GROUNDS]
    grounds = [ground(g) for _ in WALKERS for g in GROUNDS]
    together = physics.simulate(walkers, grounds, 4.0)
    assert len(set(together.tolist())) > 2 * len(WALKERS)
    alone = np.array([physics.simulate([w], [g], 4.0)[0] for w, g in zip(walkers, grounds, strict=True)])
    assert np.array_equal(together, alone)
    order = np.random.default_rng(0).permutation(len(walkers))
    shuffled = physics.simulate([walkers[k] for k in order], [grounds[k] for k in order], 4.0, threads=3)
    assert np.array_equal(together[order], shuffled)


def digest():
    """Displacements of all walkers on all grounds, to the last bit."""
    walkers = [w for w in WALKERS for _ in GROUNDS]
    return hashlib.sha256(physics.simulate(walkers, [ground(g) for g in GROUNDS] * len(WALKERS), 4.0)).hexdigest()


def digest_elsewhere(**environment):
    command = [sys.executable, "-c", "from tests.terrains.sodarace.test_physics import digest; print(digest())"]
    root, told = Path(__file__).resolve().parents[3], os.environ | environment
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root, env=told).stdout.strip()


@pytest.mark.arithmetic
def test_a_result_is_the_same_to_the_last_bit_in_another_process():
    assert digest_elsewhere() == digest()


@pytest.mark.slow
@pytest.mark.arithmetic
def test_a_result_is_the_same_to_the_last_bit_with_the_instructions_of_any_processor(tmp_path):
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    assert digest_elsewhere(NUMBA_CACHE_DIR=str(tmp_path), **generic) == digest()


def test_trace_shows_what_simulate_computes():
    for walker in WALKERS[:4]:
        frames = physics.trace(walker, ground("bumpy"), 3.0, every=1)
        assert frames.shape == (180, len(walker.joints), 2)
        assert np.array_equal(frames[0], physics.place(walker, ground("bumpy")))
        # The last frame is the state before the last step.
        shorter = physics.simulate([walker], [ground("bumpy")], 179 / 60)[0]
        assert frames[-1, :, 0].mean() - frames[0, :, 0].mean() == pytest.approx(shorter, abs=1e-9)
        assert np.array_equal(physics.trace(walker, ground("bumpy"), 3.0, every=7), frames[::7])


def least_gap(points, segments):
    """Distance of each point to the nearest segment."""
    gap = np.full(len(points), np.inf)
    for start, end in zip(segments[:, :2], segments[:, 2:], strict=True):
        along = np.clip((points - start) @ (end - start) / ((end - start) ** 2).sum(), 0, 1)
        gap = np.minimum(gap, np.linalg.norm(points - start - along[:, None] * (end - start), axis=1))
    return gap


@pytest.mark.parametrize(
    "name",
    [
        *GROUNDS,
        "bumpy(amplitude=60,spacing=20,seed=5)",
        "hills(amplitude=40,wavelength=40)",
        "stairs(height=3,length=5)",
        "gap(width=9,spacing=20,first=20)",
        "slope(angle=-35)",
        "tunnel(height=25)+bumpy",
    ],
)
def test_no_node_passes_a_wall_the_floor_or_a_ceiling(name):
    where = ground(name)
    for walker in WALKERS:
        points = physics.trace(walker, where, 12.0, every=3).reshape(-1, 2)
        assert least_gap(points, where.segments()[0]).min() > RADIUS - SLACK
        for x, y in points[::20]:
            assert where.floor_between(x, x) < y < where.ceiling_between(x, x)


def crossings(frames, segments):
    """How often a joint's way from one frame to the next crosses a segment."""
    a, b = frames[:-1].reshape(-1, 2), frames[1:].reshape(-1, 2)

    def side(p, q, r):
        return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])

    count = 0
    for start, end in zip(segments[:, :2], segments[:, 2:], strict=True):
        apart = side(start, end, a) * side(start, end, b) < 0
        count += int((apart & (side(a, b, start) * side(a, b, end) < 0)).sum())
    return count


@st.composite
def any_part(draw, family):
    parameters = {}
    for known in parameters_of(family).values():
        low, high = sorted((known.default / 4, known.default * 4))
        near = st.integers(0, 999) if known.whole else st.floats(max(known.least, low), min(known.greatest, high))
        parameters[known.name] = draw(near)
    return str(Part(family, parameters))


@st.composite
def any_ground(draw):
    """A family, or two of which one at most has a ceiling and one at most a wall at the start."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    name = draw(any_part(family))
    if draw(st.booleans()):
        name += "+" + draw(any_part(draw(st.sampled_from(["bumpy", "hills", "stairs", "gap", "slope"]))))
    return ground(name)


@st.composite
def any_walker(draw):
    """Up to 40 joints anywhere, a tree of muscles and some more, any stroke and phase, some of them rods."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(2, 40))
    joints = rng.uniform(0, 1, (n, 2)) * [draw(st.floats(1, 25)), draw(st.floats(1, 25))]
    tree = [[int(rng.integers(k)), k] for k in range(1, n)]
    more = [rng.choice(n, 2, replace=False).tolist() for _ in range(draw(st.integers(0, 3 * n)))]
    muscles = np.array(tree + more, dtype=np.int64)
    amplitude = rng.uniform(-1, draw(st.floats(0, 9)), len(muscles))
    rigid = rng.random(len(muscles)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    return Walker(joints, muscles, amplitude, rng.random(len(muscles)), rigid)


def no_walker_passes(walker, where):
    assume(physics.fits(walker, where))
    frames = physics.trace(walker, where, 8.0, every=1)
    assert np.isfinite(frames).all()
    segments = where.segments()[0]
    assert crossings(frames, segments) == 0
    for x, y in frames[::10].reshape(-1, 2)[::7]:
        assert where.floor_between(x, x) < y < where.ceiling_between(x, x)


def test_no_walker_passes_through_any_ground():
    settings(max_examples=30, deadline=None, derandomize=True)(given(any_walker(), any_ground())(no_walker_passes))()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_walker_passes_through_any_ground_whatever_comes():
    settings(max_examples=1000, deadline=None)(given(any_walker(), any_ground())(no_walker_passes))()


def test_a_walker_is_stopped_by_a_wall_and_by_a_ceiling():
    fast = max(random_walkers(40, seed=2), key=lambda w: physics.simulate([w], [ground("flat")])[0])
    free = physics.simulate([fast], [ground("right_wall(distance=500)")])[0]
    assert free > 60
    walled = physics.trace(fast, ground("right_wall(distance=30)"))[..., 0].max()
    assert walled < 30 - RADIUS + SLACK
    low = physics.trace(fast, ground("tunnel(height=30,mouth=60)"))[..., 0].max()
    assert low < physics.trace(fast, ground("flat"))[..., 0].max()


def test_a_fast_node_lands_without_sinking_in():
    frames = physics.trace(replace(two_joints(), joints=np.array([[0.0, 0.0], [0.5, 55.0]])), ground("flat"), 10.0, 1)
    assert frames[..., 1].min() > RADIUS - 0.05


def test_a_walker_starts_just_above_the_floor_at_its_spawn():
    walker = WALKERS[0]
    flat, left, right = (physics.place(walker, ground(g)) for g in ("flat", "left_wall", "right_wall"))
    assert flat[:, 1].min() == pytest.approx(RADIUS + physics.CLEARANCE)
    assert (flat[:, 0].min() + flat[:, 0].max()) / 2 == pytest.approx(0)
    assert left[:, 0].min() == pytest.approx(RADIUS)
    assert right[:, 0].max() == pytest.approx(-RADIUS)
    assert np.ptp(flat, axis=0) == pytest.approx(np.ptp(walker.joints, axis=0) * physics.PROGRAM_UNIT)
    bumpy = ground("bumpy(amplitude=60)")
    for x, y in physics.place(walker, bumpy):
        assert y > bumpy.floor_between(x - RADIUS, x + RADIUS) + RADIUS


def test_what_does_not_fit_the_start_is_told():
    low, tall, large = (
        replace(two_joints(), joints=np.array([[0.0, 0.0], p])) for p in ([30.0, 1.0], [0, 30], [30, 9])
    )
    tunnel = ground("tunnel(height=20,mouth=55)")
    assert physics.fits(low, tunnel) and physics.fits(tall, tunnel)
    assert not physics.fits(large, tunnel)
    assert physics.fits(large, ground("flat"))


def test_muscles_follow_their_law_and_rods_keep_their_length():
    def lengths(walker):
        frames = physics.trace(walker, ground("flat"), 20.0, 1)[600:]
        return np.linalg.norm(frames[:, 0] - frames[:, 1], axis=1) / physics.PROGRAM_UNIT

    assert physics.stroke(np.array([-1.0, 0.0, 1.0, -9.0, 9.0])) == pytest.approx([0.0, 0.15, 0.3, 0.0, 0.468])
    rod, still, beating, harder = (
        lengths(two_joints(rigid=True)),
        lengths(two_joints(-1.0)),
        lengths(two_joints(0.0)),
        lengths(two_joints(1.0)),
    )
    assert rod == pytest.approx(4.0, abs=0.01)
    assert still == pytest.approx(4.0, abs=0.01)
    assert np.ptp(harder) > 1.5 * np.ptp(beating) > 0.3
    peaks = np.flatnonzero((beating[1:-1] > beating[:-2]) & (beating[1:-1] >= beating[2:]))
    assert np.diff(peaks).mean() / 60 == pytest.approx(2 * np.pi / 3, rel=0.05), "three radians a second"


def test_a_walker_without_strokes_stays_where_it_is():
    square = Walker(
        np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]),
        np.array([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2], [1, 3]]),
        np.full(6, -1.0),
        np.zeros(6),
        np.zeros(6, bool),
    )
    assert abs(physics.simulate([square], [ground("flat")])[0]) < 0.01


def test_a_simulation_that_blows_up_is_nan_and_harms_no_other():
    good = WALKERS[0]
    bad = replace(good, amplitude=np.full(len(good.muscles), np.nan))
    lone = physics.simulate([good], [ground("flat")], 2.0)
    batch = physics.simulate([good, bad, good], [ground("flat")] * 3, 2.0)
    assert np.isnan(batch[1])
    assert batch[0] == batch[2] == lone[0]


def test_neighbours_in_the_order_of_solving_share_no_joint_where_that_can_be_had():
    chain = np.array([[k, k + 1] for k in range(12)])
    order = physics._spread(chain)
    assert sorted(order.tolist()) == list(range(12))
    solved = chain[order]
    assert not any(set(a) & set(b) for a, b in zip(solved.tolist(), solved.tolist()[1:], strict=False))


def test_an_empty_batch_is_an_empty_result():
    assert physics.simulate([], []).shape == (0,)
