"""The same walkers on the same grounds in Box2D: what our kernel is checked against and timed against.

Every node is a body whose rotation is fixed, every muscle a soft distance joint whose length follows the muscle law,
every segment of the ground a static edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import Box2D
import numpy as np

from terrains.sodarace import kernel
from terrains.sodarace.ground.geometry import Ground
from terrains.sodarace.physics import STEPS_PER_SECOND, place, stroke
from terrains.sodarace.walker import Walker

FRICTION = 1.0
NODE, GROUND = 0x0002, 0x0001
DAMPING = kernel.LINEAR_DAMPING / (1.0 + kernel.DT * kernel.LINEAR_DAMPING)
"""This binding's Box2D damps a step by 1 - h d, later ones and our kernel by 1 / (1 + h d): with this d they agree."""


def displacement(walker: Walker, ground: Ground, seconds: float = 20.0) -> float:
    """Returns how far the centre of mass goes along x in Box2D, world units, signed."""
    world = Box2D.b2World(gravity=(0.0, kernel.GRAVITY), doSleep=False)
    _add_ground(world, ground)
    nodes = [_add_node(world, x, y) for x, y in place(walker, ground)]
    joints = _add_muscles(world, nodes, walker)
    amplitude = np.where(walker.rigid, 0.0, stroke(walker.amplitude)).tolist()
    moving = [
        (joint, joint.length, a, 2 * math.pi * phase)
        for joint, a, phase in zip(joints, amplitude, walker.phase.tolist(), strict=True)
        if a != 0.0
    ]
    before = _centre(nodes)
    for step in range(round(seconds * STEPS_PER_SECOND)):
        theta = kernel.MUSCLE_SPEED * kernel.DT * step
        for joint, rest, a, phase in moving:
            joint.length = rest * (1.0 + a * math.cos(theta + phase))
        world.Step(kernel.DT, kernel.VELOCITY_ITERATIONS, kernel.POSITION_ITERATIONS)
    return _centre(nodes) - before


def displacements(walkers: Sequence[Walker], ground: Ground, seconds: float = 20.0) -> np.ndarray:
    """Returns `displacement` of every walker on one ground, shape (b,)."""
    return np.array([displacement(walker, ground, seconds) for walker in walkers])


def random_walkers(count: int, seed: int, joints: int = 12, muscles: int = 25) -> list[Walker]:
    """Returns connected walkers of a fixed size: joints anywhere in a square of 10 units, seven muscles in ten beating.

    The other three are soft without a stroke, so that a walker is not equally alive all over.
    """
    rng = np.random.default_rng(seed)
    found: list[Walker] = []
    while len(found) < count:
        points = rng.uniform(0.0, 10.0, (joints, 2))
        apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + 99.0 * np.eye(joints)
        if apart.min() < 0.1:
            continue
        ends = {(int(rng.integers(0, k)), k) for k in range(1, joints)}
        while len(ends) < muscles:
            a, b = sorted(rng.choice(joints, 2, replace=False).tolist())
            ends.add((a, b))
        amplitude = np.where(rng.random(muscles) < 0.7, rng.uniform(-1.0, 1.0, muscles), -1.0)
        found.append(
            Walker(points, np.array(sorted(ends)), amplitude, rng.uniform(0.0, 1.0, muscles), np.zeros(muscles, bool))
        )
    return found


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation of two arrays without ties."""
    return float(np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1])


def _add_ground(world: Box2D.b2World, ground: Ground) -> None:
    body = world.CreateStaticBody()
    for x0, y0, x1, y1 in ground.segments()[0].tolist():
        body.CreateEdgeFixture(vertices=[(x0, y0), (x1, y1)], friction=FRICTION, categoryBits=GROUND)


def _add_node(world: Box2D.b2World, x: float, y: float) -> Box2D.b2Body:
    body = world.CreateDynamicBody(position=(x, y), fixedRotation=True, linearDamping=DAMPING)
    body.CreateCircleFixture(
        radius=kernel.RADIUS,
        density=kernel.DENSITY,
        friction=FRICTION,
        restitution=kernel.RESTITUTION,
        categoryBits=NODE,
        maskBits=GROUND,
    )
    return body


def _add_muscles(world: Box2D.b2World, nodes: list[Box2D.b2Body], walker: Walker) -> list[Box2D.b2DistanceJoint]:
    return [
        world.CreateDistanceJoint(
            bodyA=nodes[a],
            bodyB=nodes[b],
            anchorA=nodes[a].worldCenter,
            anchorB=nodes[b].worldCenter,
            frequencyHz=0.0 if rigid else kernel.FREQUENCY,
            dampingRatio=0.0 if rigid else kernel.DAMPING_RATIO,
            collideConnected=False,
        )
        for (a, b), rigid in zip(walker.muscles.tolist(), walker.rigid.tolist(), strict=True)
    ]


def _centre(nodes: list[Box2D.b2Body]) -> float:
    return sum(node.position.x for node in nodes) / len(nodes)
