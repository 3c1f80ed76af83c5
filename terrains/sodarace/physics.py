"""Simulation of walkers on grounds: placing them, packing a batch for the kernel, running it on threads."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from terrains.sodarace import kernel
from terrains.sodarace.ground.geometry import END, Ground
from terrains.sodarace.walker import Walker

PROGRAM_UNIT = 6.8
"""World units in one unit of a program."""

NODE_RADIUS = kernel.RADIUS
STEPS_PER_SECOND = round(1 / kernel.DT)
CLEARANCE = 0.05
"""How far above the floor a walker starts, world units."""

BUCKET = 8.0
MARGIN = 4.0
"""Width of the buckets in which a node looks for segments, and how far beyond its own a bucket sees, world units."""

VERSION = 2
"""Counted up whenever a change of the physics changes a score; part of every terrain's fingerprint."""


def stroke(amplitude: np.ndarray) -> np.ndarray:
    """Returns the relative stroke A of muscles from the amplitudes in a program.

    The law is L = L0 (1 + A cos(theta + 2 pi phase)), A = 0.3 (a + 1) / 2, a cut to [-1, 2.12]: a muscle never
    shortens by half of its length.
    """
    return 0.3 * (np.clip(amplitude, -1.0, 2.12) + 1.0) / 2.0


def place(walker: Walker, ground: Ground) -> np.ndarray:
    """Returns the joints where the walker starts, shape (n, 2), world units: aligned and just above the floor."""
    joints = walker.joints * PROGRAM_UNIT
    low, high = joints[:, 0].min() - NODE_RADIUS, joints[:, 0].max() + NODE_RADIUS
    joints = joints - [{"left": low, "center": (low + high) / 2, "right": high}[ground.spawn], joints[:, 1].min()]
    floor = ground.floor_between(joints[:, 0].min() - NODE_RADIUS + 1e-6, joints[:, 0].max() + NODE_RADIUS - 1e-6)
    return joints + [0.0, floor + NODE_RADIUS + CLEARANCE]


def fits(walker: Walker, ground: Ground) -> bool:
    """Whether the walker's bounding box, where it starts, touches neither a ceiling nor the end of the world."""
    joints = place(walker, ground)
    low, high, top = (
        joints[:, 0].min() - NODE_RADIUS,
        joints[:, 0].max() + NODE_RADIUS,
        joints[:, 1].max() + NODE_RADIUS,
    )
    if low < -END or high > END:
        return False
    return top < ground.ceiling_between(low, high)


def simulate(
    walkers: Sequence[Walker], grounds: Sequence[Ground], seconds: float = 20.0, threads: int = 1
) -> np.ndarray:
    """Runs every walker on its ground.

    A result depends on its own walker and ground alone, never on the batch, its order or the number of threads.

    Args:
        walkers: b walkers.
        grounds: b grounds; one object is packed once.
        seconds: simulated time.
        threads: threads that share the batch; the kernel holds no lock.

    Returns:
        Displacement of each centre of mass along x, world units, signed, shape (b,); NaN where the simulation blew up.
    """
    jobs = [(*_pack_walker(w, g), *_pack_ground(g)) for w, g in zip(walkers, grounds, strict=True)]
    steps = round(seconds * STEPS_PER_SECOND)

    def run(share: Sequence[tuple]) -> list[float]:
        return [_simulate_one(*job, BUCKET, steps, 0, _NO_FRAMES) for job in share]

    if threads <= 1 or len(jobs) < 2 * threads:
        return np.array(run(jobs), dtype=np.float64)
    with ThreadPoolExecutor(threads) as executor:
        shares = list(executor.map(run, [jobs[k::threads] for k in range(threads)]))
    result = np.empty(len(jobs))
    for k, share in enumerate(shares):
        result[k::threads] = share
    return result


def trace(walker: Walker, ground: Ground, seconds: float = 20.0, every: int = 2) -> np.ndarray:
    """Returns the joints of every ``every``-th step of what `simulate` computes, shape (frames, n, 2), world units."""
    steps = round(seconds * STEPS_PER_SECOND)
    frames = np.full((-(-steps // every), len(walker.joints), 2), np.nan)
    _simulate_one(*_pack_walker(walker, ground), *_pack_ground(ground), BUCKET, steps, every, frames)
    return frames


_NO_FRAMES = np.empty((0, 0, 2))

_simulate_one: Any = kernel.simulate_one  # numba's type of a compiled function does not know its arguments


def _pack_walker(walker: Walker, ground: Ground) -> tuple[np.ndarray, ...]:
    """Joints where they start, and the muscles in the order they are solved in."""
    order = _spread(walker.muscles)
    amplitude = np.where(walker.rigid, 0.0, stroke(walker.amplitude))
    return place(walker, ground), walker.muscles[order], amplitude[order], walker.phase[order], walker.rigid[order]


def _spread(muscles: np.ndarray) -> np.ndarray:
    """An order in which successive muscles share no joint where possible, so that the processor need not wait."""
    ends = muscles.tolist()
    last = [-1] * (1 + int(muscles.max()))
    # The next is the one whose joints were used longest ago. A muscle's turn only ever gets later, so that a heap with
    # turns out of date serves: what comes up too early is put back.
    heap = [(-1, k) for k in range(len(ends))]
    order: list[int] = []
    while heap:
        turn, k = heap[0]
        a, b = ends[k]
        due = max(last[a], last[b])
        if due > turn:
            heapq.heapreplace(heap, (due, k))
            continue
        heapq.heappop(heap)
        last[a] = last[b] = len(order)
        order.append(k)
    return np.array(order, dtype=np.int64)


@lru_cache(maxsize=256)
def _pack_ground(ground: Ground) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Segments, kinds, and for every bucket along x the segments near it, as offsets and indices."""
    segments, kinds = ground.segments()
    x0 = -END - MARGIN
    count = int(2 * (END + MARGIN) / BUCKET) + 1
    edges = x0 + BUCKET * np.arange(count)
    low, high = np.minimum(segments[:, 0], segments[:, 2]) - MARGIN, np.maximum(segments[:, 0], segments[:, 2]) + MARGIN
    near = (low[None] <= edges[:, None] + BUCKET) & (high[None] >= edges[:, None])
    start = np.concatenate([[0], near.sum(1).cumsum()]).astype(np.int64)
    return segments, kinds, start, near.nonzero()[1].astype(np.int64), x0
