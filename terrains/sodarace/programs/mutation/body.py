"""Changes of bodies that are spelt out: joints moved, added and taken away, muscles re-tied, two bodies made one."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable

from terrains.sodarace.programs.body import Muscle, Place, Skeleton, read_skeleton, tidy, write_skeleton
from terrains.sodarace.programs.number_grid import AMPLITUDES, MOST_OF_A_KIND, PHASES, STEP, TALLEST, WIDEST
from terrains.sodarace.programs.syntax_tree import tuples

FEWEST = 3
"""Joints of a body."""


def move_joints(tree: ast.Module, rng: random.Random) -> bool:
    """Moves a joint up, down or aside, or everything from it on to one side: a longer or shorter body."""
    body = read_skeleton(tree)
    if body is None:
        return False
    places, step = list(body.places), rng.choice([-STEP, STEP])
    first = rng.randrange(len(places))
    how = rng.choice(["up", "aside", "all"])
    for k in range(first, len(places) if how == "all" else first + 1):
        x, y = places[k]
        places[k] = (x, y + step) if how == "up" else (x + step, y)
    return _rewrite(tree, body, places, body.muscles)


def mirror(tree: ast.Module, rng: random.Random) -> bool:
    """Turns the body round, so that what walked to the left walks to the right."""
    body = read_skeleton(tree)
    if body is None:
        return False
    xs = [x for x, _ in body.places]
    return _rewrite(tree, body, [(min(xs) + max(xs) - x, y) for x, y in body.places], body.muscles)


def add_or_remove_joint(tree: ast.Module, rng: random.Random) -> bool:
    """Adds a joint, tied to one or two others where muscles are spelt out, or takes one away."""
    body = read_skeleton(tree)
    if body is None:
        return False
    if rng.random() < 0.5:
        gone = rng.randrange(len(body.places))
        return _rewrite(tree, *_without(body, gone))
    n = len(body.places)
    places = [*body.places, _free_place(body, rng)]
    if body.muscles is None:
        return _rewrite(tree, body, places, None)
    ties = [(k, n, _settings(tree, rng)) for k in rng.sample(range(n), rng.randint(1, 2))]
    return _rewrite(tree, body, places, [*body.muscles, *ties])


def tie(tree: ast.Module, rng: random.Random) -> bool:
    """Adds a muscle between two joints, takes one away, or ties one end of it elsewhere."""
    body = read_skeleton(tree)
    if body is None or body.muscles is None:
        return False
    muscles = list(body.muscles)
    chosen, (a, b) = rng.randrange(len(muscles)), rng.sample(range(len(body.places)), 2)
    how = rng.choice(["add", "remove", "elsewhere"])
    if how == "add":
        muscles.append((a, b, _settings(tree, rng)))
    elif how == "remove":
        del muscles[chosen]
    else:
        muscles[chosen] = (muscles[chosen][0], b, muscles[chosen][2])
    return _rewrite(tree, body, body.places, muscles)


def join_bodies(tree: ast.Module, mate: ast.Module, rng: random.Random) -> bool:
    """Puts the right part of the mate's body in the place of the right part of this one."""
    body, other = read_skeleton(tree), read_skeleton(mate)
    if body is None or other is None:
        return False
    kept, taken = rng.randint(1, len(body.places) - 1), rng.randint(1, len(other.places) - 1)
    right = list(range(len(other.places) - taken, len(other.places)))
    shift = body.places[kept - 1][0] + STEP - other.places[right[0]][0]
    places = [*body.places[:kept], *((other.places[k][0] + shift, other.places[k][1]) for k in right)]
    if body.muscles is None:
        return _rewrite(tree, body, places, None)
    muscles: list[Muscle] = [m for m in body.muscles if max(m[:2]) < kept]
    at = {k: kept + i for i, k in enumerate(right)}
    muscles += [
        (at[a], at[b], _as_long(settings, tree, rng)) for a, b, settings in other.muscles or () if a in at and b in at
    ]
    # A seam of two muscles, and one for each joint that would hang on nothing.
    muscles += [(rng.randrange(kept), kept + rng.randrange(taken), _settings(tree, rng)) for _ in range(2)]
    tied = {end for m in muscles for end in m[:2]}
    muscles += [(k, (k + 1) % len(places), _settings(tree, rng)) for k in range(len(places)) if k not in tied]
    return _rewrite(tree, body, places, muscles)


SKELETON_OPERATORS: dict[str, tuple[Callable[[ast.Module, random.Random], bool], int]] = {
    "move": (move_joints, 6),
    "mirror": (mirror, 1),
    "joint": (add_or_remove_joint, 2),
    "tie": (tie, 3),
}
"""Operators on one program, with their weights."""


def _rewrite(tree: ast.Module, old: Skeleton, places: object, muscles: object) -> bool:
    """Writes the changed body if it is one within bounds; returns whether the program has changed."""
    new = tidy(list(places), None if muscles is None else list(muscles))  # type: ignore[call-overload]
    xs = [x for x, _ in new.places]
    inside = all(0 <= x <= WIDEST and 0 <= y <= TALLEST for x, y in new.places)
    if new == old or not inside or len(set(xs)) < len(xs) or not FEWEST <= len(xs) <= MOST_OF_A_KIND:
        return False
    if new.muscles is not None and not new.muscles:
        return False
    write_skeleton(tree, new)
    return True


def _without(body: Skeleton, gone: int) -> tuple[Skeleton, list[Place], list[Muscle] | None]:
    places = [p for k, p in enumerate(body.places) if k != gone]
    if body.muscles is None:
        return body, places, None
    left = [m for m in body.muscles if gone not in m[:2]]
    return body, places, [(a - (a > gone), b - (b > gone), settings) for a, b, settings in left]


def _free_place(body: Skeleton, rng: random.Random) -> Place:
    taken = {x for x, _ in body.places}
    free = [x for x in range(0, max(taken) + 2 * STEP + 1, STEP) if x not in taken]
    return rng.choice(free), rng.randrange(0, TALLEST + 1, STEP)


def _settings(tree: ast.Module, rng: random.Random) -> tuple[float, ...]:
    """Amplitude and phase of a new muscle, or the phase alone where the program's list holds no more."""
    pairs = tuples(tree, (3,))
    return (rng.choice(PHASES),) if pairs else (rng.choice(AMPLITUDES[2:]), rng.choice(PHASES))


def _as_long(settings: tuple[float, ...], tree: ast.Module, rng: random.Random) -> tuple[float, ...]:
    """The mate's settings, in the number that this program's muscles take."""
    own = _settings(tree, rng)
    given = settings[-len(own) :]
    return own[: len(own) - len(given)] + given
