"""Walkers, and the check that turns what a program returned into one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


class InvalidWalker(ValueError):
    """What a program returned is not a walker of this world.

    Attributes:
        rule: short name of the rule that it breaks.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True)
class WalkerLimits:
    """Sizes beyond which a walker is not simulated.

    Attributes:
        max_joints: most joints.
        max_muscles: most muscles.
        max_size: greatest width or height, in program units.
        min_joint_distance: joints nearer to each other than this are at one place, in program units.
    """

    max_joints: int = 100
    max_muscles: int = 500
    max_size: float = 60.0
    min_joint_distance: float = 0.003


@dataclass(frozen=True, eq=False)
class Walker:
    """Joints connected by muscles and rods, in program units.

    Attributes:
        joints: positions, shape (n, 2), float64.
        muscles: joint indices of both ends, shape (m, 2), int64.
        amplitude: as the program gave it, shape (m,); the physics turns it into a stroke.
        phase: in turns, shape (m,).
        rigid: whether a muscle is a rod of fixed length, shape (m,).
    """

    joints: np.ndarray
    muscles: np.ndarray
    amplitude: np.ndarray
    phase: np.ndarray
    rigid: np.ndarray

    @property
    def width(self) -> float:
        """Extent along x."""
        return float(np.ptp(self.joints[:, 0]))

    @property
    def height(self) -> float:
        """Extent along y."""
        return float(np.ptp(self.joints[:, 1]))

    @property
    def mass(self) -> float:
        """Joints plus half the summed length of the muscles (ELM's third descriptor)."""
        ends = self.joints[self.muscles]
        return len(self.joints) + 0.5 * float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum())


def validate_walker(data: object, limits: WalkerLimits | None = None) -> Walker:
    """Checks plain data from the sandbox, whatever it is, in bounded time and without recursion.

    Args:
        data: ``{"joints": [(x, y), ...], "muscles": [[a, b, rigid, amplitude, phase], ...]}``. A muscle from a joint
            to itself has no length: it is checked like the others, and then left out, as OpenELM's simulator does.
        limits: sizes beyond which a walker is refused; the defaults if None.

    Raises:
        InvalidWalker: it is not a walker; ``rule`` says which rule it breaks.
    """
    limits = limits or WalkerLimits()
    if type(data) is not dict or type(data.get("joints")) is not list or type(data.get("muscles")) is not list:
        raise InvalidWalker("not_a_walker", "make_walker must return wc.get_walker()")
    joints, muscles = data["joints"], data["muscles"]
    if len(joints) < 2 or not muscles:
        raise InvalidWalker("too_small", f"{len(joints)} joints and {len(muscles)} muscles make no walker")
    if len(joints) > limits.max_joints:
        raise InvalidWalker("too_many_joints", f"{len(joints)} joints, the most is {limits.max_joints}")
    if len(muscles) > limits.max_muscles:
        raise InvalidWalker("too_many_muscles", f"{len(muscles)} muscles, the most is {limits.max_muscles}")
    points = np.array([_row(j, 2, "joint", limits.max_size * 1000) for j in joints])
    ends = np.array([_ends(m, len(joints)) for m in muscles], dtype=np.int64)
    numbers = np.array([_row(m[3:], 2, "muscle", 1e6) for m in muscles])
    rigid = np.array([m[2] is True for m in muscles])
    real = ends[:, 0] != ends[:, 1]
    if not real.any():
        raise InvalidWalker("too_small", f"{len(joints)} joints and no muscle between two of them make no walker")
    ends, numbers, rigid = ends[real], numbers[real], rigid[real]
    _check_shape(points, ends, limits)
    return Walker(points, ends, numbers[:, 0], np.mod(numbers[:, 1], 1.0), rigid)


def _row(values: object, length: int, what: str, bound: float) -> list[float]:
    if not (type(values) is list or type(values) is tuple) or len(values) != length:
        raise InvalidWalker("not_a_walker", f"a {what} is not {length} numbers")
    return [_number(v, what, bound) for v in values]


def _number(value: object, what: str, bound: float) -> float:
    if type(value) not in (int, float):
        raise InvalidWalker("not_a_number", f"a {what} has a {type(value).__name__} where a number belongs")
    if not -bound <= value <= bound:  # type: ignore[operator]  # also False for NaN; safe for integers of any size
        rule = "not_finite" if type(value) is float and not math.isfinite(value) else "out_of_range"
        raise InvalidWalker(rule, f"a {what} has a number that is not within +-{bound:g}")
    return float(value)  # type: ignore[arg-type]


def _ends(muscle: object, n: int) -> tuple[int, int]:
    if type(muscle) is not list or len(muscle) != 5 or type(muscle[2]) is not bool:
        raise InvalidWalker("not_a_walker", "a muscle is not (joint, joint, rigid, amplitude, phase)")
    a, b = muscle[0], muscle[1]
    if type(a) is not int or type(b) is not int or not (0 <= a < n and 0 <= b < n):
        raise InvalidWalker("no_such_joint", "a muscle ends at a joint that does not exist")
    return a, b


def _check_shape(points: np.ndarray, ends: np.ndarray, limits: WalkerLimits) -> None:
    size = float(np.ptp(points, axis=0).max())
    if size > limits.max_size:
        raise InvalidWalker("too_large", f"{size:g} units across, the most is {limits.max_size:g}")
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    apart[np.diag_indices(len(points))] = np.inf
    if apart.min() < limits.min_joint_distance:
        a, b = np.unravel_index(apart.argmin(), apart.shape)
        raise InvalidWalker("joints_at_one_place", f"joints {a} and {b} are at one place")
    reached, edge = {0}, {0}
    neighbours: dict[int, set[int]] = {}
    for a, b in ends.tolist():
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    while edge:
        edge = set().union(*(neighbours.get(k, set()) for k in edge)) - reached
        reached |= edge
    if len(reached) < len(points):
        raise InvalidWalker("disconnected", f"{len(points) - len(reached)} joints hang on no muscle to the rest")
