"""Programs written for OpenELM's walker module run here, or fail by the name of what they ask for."""

from __future__ import annotations

import pytest

from terrains.base import Attempt
from terrains.sodarace import failures
from terrains.sodarace.walker import validate_walker

MODULE = "openelm.environments.sodaracer.walker"
BODY = """
def make_walker():
    wc = {creator}()
    a = wc.add_joint(0, 0)
    b = wc.add_joint(4, 0)
    c = wc.add_joint(2, 3)
{lines}
    return wc.get_walker()
"""
TRIANGLE = ["wc.add_muscle(a, b, 2.0, 0.0)", "wc.add_muscle(b, c, 2.0, 0.3)", "wc.add_muscle(c, a, 2.0, 0.6)"]


def program(*lines, start="import math", creator="walker_creator"):
    indented = "\n".join(f"    {part}" for line in lines for part in line.split("\n"))
    return f"{start}\n{BODY.format(creator=creator, lines=indented)}"


PLAIN = program(*TRIANGLE)


@pytest.mark.parametrize(
    ("start", "creator"),
    [
        (f"from {MODULE} import walker_creator", "walker_creator"),
        (f"from {MODULE}.walk_creator import walker_creator", "walker_creator"),
        (f"from {MODULE}.walk_creator import Walker, walker_creator", "walker_creator"),
        (f"import math\n\nfrom {MODULE} import query_cppn, walker_creator  # both", "walker_creator"),
        (f"from {MODULE} import (\n    query_cppn,  # a grid\n    walker_creator as make,\n)", "make"),
        (f"from {MODULE} import \\\n    walker_creator", "walker_creator"),
        (f"from {MODULE} import *", "walker_creator"),
        (f"from {MODULE} import walk_creator", "walk_creator.walker_creator"),
        (f"from {MODULE.removesuffix('.walker')} import Walker, walker as w", "w.walker_creator"),
        ("from .walk_creator import walker_creator", "walker_creator"),
        ("from . import walker_creator", "walker_creator"),
        (f"import {MODULE} as w", "w.walker_creator"),
        (f"import {MODULE}.walk_creator as w", "w.walker_creator"),
        (f"import {MODULE}", f"{MODULE}.walker_creator"),
    ],
)
def test_imports_of_its_walker_module_are_understood(sandbox, start, creator):
    outcome = sandbox.run(program(*TRIANGLE, start=start, creator=creator))
    assert outcome.value == sandbox.run(PLAIN).value, outcome


def test_an_import_may_stand_in_the_function(sandbox):
    inside = PLAIN.replace("    wc =", f"    from {MODULE} import walker_creator\n    wc =")
    assert sandbox.run(inside).value == sandbox.run(PLAIN).value


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import numpy as np", "numpy"),
        ("from numpy import sign", "numpy"),
        ("import openelm.mutation_model", "openelm"),
        ("from openelm.environments.sodaracer.simulator import SodaraceSimulator", "openelm"),
        (f"from {MODULE} import walker_creater", "walker_creater"),
    ],
)
def test_what_cannot_be_imported_is_a_failure_of_its_own_that_is_named(sandbox, world, line, named):
    bad = program(*TRIANGLE, start=line)
    outcome = sandbox.run(bad)
    assert outcome.failure == failures.IMPORT
    assert f"'{named}'" in outcome.detail
    assert world.score([Attempt("flat", bad)])[0].failure == failures.IMPORT


def test_a_muscle_from_a_joint_to_itself_is_left_out(sandbox, world):
    with_it = program("wc.add_muscle(a, a, 9.0, 0.5)", *TRIANGLE, "wc.add_muscle(c, c)")
    assert len(sandbox.run(with_it).value["muscles"]) == 5
    walker = world.walker(with_it)
    assert walker.muscles.tolist() == [[0, 1], [1, 2], [2, 0]]
    assert walker.phase.tolist() == [0.0, 0.3, 0.6]
    assert walker.mass == world.walker(PLAIN).mass
    scores = world.score([Attempt("flat", with_it), Attempt("flat", PLAIN)])
    assert scores[0] == scores[1] and scores[0].valid


def test_a_grid_is_connected_by_a_function_as_there(sandbox):
    grid = f"""
from {MODULE} import query_cppn, walker_creator
def make_walker():
    wc = walker_creator()
    joints = query_cppn(wc, 8, 3, 1.5, lambda a, b, c, d: (a - c) ** 2 + (b - d) ** 2 <= 4.5,
                        lambda a, b, c, d: max(abs(a - c), abs(b - d)), lambda a, b, c, d: a)
    assert joints[(7, 2)] == (10.5, 3.0)
    return wc.get_walker()
"""
    outcome = sandbox.run(grid)
    assert (len(outcome.value["joints"]), len(outcome.value["muscles"])) == (24, 96)
    assert outcome.value["joints"][1] == (0.0, 1.5)
    walker = validate_walker(outcome.value)
    # Of the 24 muscles from a joint to itself the three on the grid's diagonal are never asked for.
    assert len(walker.muscles) == 96 - 21


@pytest.mark.parametrize(
    ("lines", "muscles"),
    [
        (["x, y = b", "wc.add_muscle(a, wc.add_joint(x + 1, y + 2))"], [[0, 3]]),
        (["wc.add_muscle(a, wc.add_joint(c[0], c[1] + 1))"], [[0, 3]]),
        (["for j in wc.joints:\n    wc.add_muscle(a, j)"], [[0, 0], [0, 1], [0, 2]]),
        (["for k in range(1, len(wc.joints)):\n    wc.add_muscle(wc.joints[k - 1], wc.joints[k])"], [[0, 1], [1, 2]]),
        (["wc.add_muscle((4, 0.0), (2.0, 3))"], [[1, 2]]),
        (["wc.add_muscle(*sorted({c: 1, b: 2}))"], [[2, 1]]),
        (["again = wc.add_joint(0, 0)", "wc.add_muscle(again, b)"], [[0, 1]]),
        (["wc.add_muscle(0, 2)"], [[0, 2]]),
    ],
)
def test_a_handle_is_the_pair_of_a_joints_coordinates(sandbox, lines, muscles):
    outcome = sandbox.run(program(*lines))
    assert outcome.failure is None, outcome
    assert [row[:2] for row in outcome.value["muscles"]] == muscles


@pytest.mark.parametrize("handle", ["(9, 9)", "None", "'a'", "1.0", "-2", "3"])
def test_a_muscle_to_no_joint_is_an_invalid_walker(world, handle):
    score = world.score([Attempt("flat", program(*TRIANGLE, f"wc.add_muscle(a, {handle})"))])[0]
    assert score.failure == failures.INVALID_WALKER and score.detail.startswith("no_such_joint")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("wc.add_muscle(a, b, 0.0, 1.0, 0.5)", "an amplitude and a phase, but 3 were given"),
        ("wc.add_muscle(a, b, False, 0.0, 1.0, 0.5)", "an amplitude and a phase, but 3 were given"),
        ("wc.add_muscle(a, b, 1.0, amplitude=2.0)", "multiple values for argument 'amplitude'"),
        ("wc.add_muscle(a, b, 1.0, 0.5, phase=0.1)", "multiple values for argument 'phase'"),
        ("wc.add_muscle(a, b, strength=2.0)", "unexpected keyword argument 'strength'"),
        ("wc.add_muscle(a)", "j1"),
        ("wc.add_joint(1, 2, 3)", "add_joint"),
        ("wc.add_joint(1, 2, mass=3)", "add_joint"),
    ],
)
def test_arguments_that_nothing_takes_are_a_type_error(sandbox, call, said):
    outcome = sandbox.run(program(*TRIANGLE, call))
    assert outcome.failure == failures.TYPE
    assert said in outcome.detail
