"""Programs nobody trusts, and what becomes of them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from terrains.sodarace import failures
from terrains.sodarace.sandbox import Sandbox, SandboxLimits
from terrains.sodarace.walker import InvalidWalker, validate_walker

GOOD = """\
import math
def make_walker():
    wc = walker_creator()
    a = wc.add_joint(0, 0)
    b = wc.add_joint(math.sqrt(4), 0)
    wc.add_muscle(a, b, 1.0, 0.5)
    return wc.get_walker()
"""
WALKER = {"joints": [(0, 0), (2.0, 0)], "muscles": [[0, 1, False, 1.0, 0.5]]}


def body(statements):
    return "import math\ndef make_walker():\n" + "".join(f"    {line}\n" for line in statements.split("\n"))


BOMBS = {
    "endless loop": (body("while True:\n    pass"), {failures.TIMEOUT}),
    "except that swallows everything": (
        body("while True:\n    try:\n        while True:\n            pass\n    except:\n        pass"),
        {failures.TIMEOUT},
    ),
    "huge list": (body("return [0] * 10**10"), {failures.MEMORY}),
    "list that grows": (body("x = [0]\nwhile True:\n    x = x + x"), {failures.MEMORY, failures.TIMEOUT}),
    "huge text": (body("x = 'a'\nwhile True:\n    x = x + x"), {failures.MEMORY}),
    "huge integer": (body("return 9**9**9"), {failures.MEMORY, failures.TIMEOUT, failures.ERROR}),
    "deep recursion": (body("return make_walker()"), {failures.RECURSION}),
    "import os": (body("import os\nos.system('true')"), {failures.UNSUPPORTED, failures.NAME}),
    "open a file": (body("return open('/etc/passwd').read()"), {failures.ERROR, failures.NAME}),
    "reach for the classes": (
        body("return ().__class__.__bases__[0].__subclasses__()"),
        {failures.NAME, failures.UNSUPPORTED},
    ),
    "nested parentheses": ("(" * 10_000 + ")" * 10_000, {failures.SYNTAX, failures.RECURSION}),
    "empty": ("", {failures.NAME}),
    "no make_walker": ("import math\n", {failures.NAME}),
    "syntax": ("import math\ndef make_walker(:\n", {failures.SYNTAX}),
    "half a program": (GOOD[: GOOD.index("(0, 0)") + 3], {failures.SYNTAX}),
    "unknown name": (body("return wc.get_walker()"), {failures.NAME}),
    "wrong type": (body("return 1 + 'a'"), {failures.TYPE}),
    "wrong value": (body("return math.sqrt(-1)"), {failures.VALUE}),
    "raises": (body("return 1 / 0"), {failures.ERROR}),
    "too few arguments": (body("walker_creator().add_joint(1)"), {failures.TYPE}),
    "100,000 characters": ("#" * 100_000, {failures.TOO_LONG}),
    "not a text": (None, {failures.TOO_LONG}),
    "lone surrogate": ("import math\n'\ud800'\n", {failures.ERROR, failures.SYNTAX}),
    "zero byte": ("import math\n\0\n", {failures.ERROR, failures.SYNTAX, failures.NAME}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bad_program_is_a_failure_of_its_kind_and_the_next_one_runs(sandbox, name):
    program, kinds = BOMBS[name]
    began = time.perf_counter()
    outcome = sandbox.run(program)
    assert outcome.failure in kinds, outcome
    assert outcome.value is None
    assert "\n" not in outcome.detail and len(outcome.detail) <= 200
    assert time.perf_counter() - began < 10.0
    assert sandbox.run(GOOD).value == WALKER


@pytest.mark.parametrize(
    ("call", "stored"),
    [
        ("wc.add_muscle(a, b)", [False, 0.0, 0.0]),
        ("wc.add_muscle(a, b, 2.0)", [False, 2.0, 0.0]),
        ("wc.add_muscle(a, b, 2.0, 0.25)", [False, 2.0, 0.25]),
        ("wc.add_muscle(a, b, False, 5.0, 0.5)", [False, 5.0, 0.5]),
        ("wc.add_muscle(a, b, True, 0.0, 0.0)", [True, 0.0, 0.0]),
        ("wc.add_muscle(a, b, True)", [True, 0.0, 0.0]),
        ("wc.add_muscle(a, b, phase=0.5, amplitude=1.0)", [False, 1.0, 0.5]),
        ("wc.add_muscle(a, b, False, 3.0, phase=0.75)", [False, 3.0, 0.75]),
    ],
)
def test_both_forms_of_add_muscle_are_taken(sandbox, call, stored):
    program = body(
        f"wc = walker_creator()\na = wc.add_joint(0, 0)\nb = wc.add_joint(2, 0)\n{call}\nreturn wc.get_walker()"
    )
    assert sandbox.run(program).value["muscles"] == [[0, 1, *stored]]


def test_a_walker_with_nan_leaves_the_sandbox_and_is_refused_by_the_check(sandbox):
    outcome = sandbox.run(GOOD.replace("math.sqrt(4)", "float('nan')"))
    assert outcome.failure is None
    with pytest.raises(InvalidWalker) as caught:
        validate_walker(outcome.value)
    assert caught.value.rule == "not_finite"


def test_a_value_nested_200_000_deep_does_no_harm(sandbox):
    outcome = sandbox.run(body("x = []\nfor i in range(200000):\n    x = [x]\nreturn x"))
    assert outcome.failure is None
    with pytest.raises(InvalidWalker):
        validate_walker(outcome.value)
    assert sandbox.run(GOOD).value == WALKER


def test_programs_see_neither_clock_nor_entropy(sandbox):
    clock = body("import datetime\nreturn str(datetime.datetime.now())")
    chance = body("import random\nreturn [random.random() for i in range(3)]")
    assert sandbox.run(clock).value == "2000-01-01 00:00:00"
    drawn = sandbox.run(chance).value
    assert len(set(drawn)) == 3 and drawn == sandbox.run(chance).value


def test_programs_do_not_see_one_another(sandbox):
    sandbox.run("import math\nleft = 1\n" + GOOD)
    assert sandbox.run(body("return left")).failure == failures.NAME


def test_what_a_program_prints_goes_nowhere(sandbox, capfd):
    noisy = GOOD.replace("    a = wc", "    print('loud')\n    a = wc")
    assert sandbox.run(noisy).value == WALKER
    assert "loud" not in "".join(capfd.readouterr())


def test_a_flood_of_prints_does_no_harm(sandbox):
    outcome = sandbox.run(body("while True:\n    print('x' * 1000)"))
    assert outcome.failure is not None
    assert sandbox.run(GOOD).value == WALKER


def test_every_thread_gets_the_outcome_of_its_own_program():
    programs = [body(f"return {k}") if k % 3 else body("return nothing") for k in range(12)]
    with Sandbox(SandboxLimits(seconds=0.5), workers=2) as pool:
        outcomes = list(ThreadPoolExecutor(4).map(pool.run, programs))
    assert [o.value for o in outcomes] == [k if k % 3 else None for k in range(12)]
    assert [o.failure for o in outcomes] == [None if k % 3 else failures.NAME for k in range(12)]


def test_close_is_safe_twice_and_the_next_run_starts_again():
    pool = Sandbox(SandboxLimits(seconds=0.5))
    assert pool.run(GOOD).value == WALKER
    pool.close()
    pool.close()
    assert pool.run(GOOD).value == WALKER
    pool.close()


def test_every_limit_holds():
    limits = SandboxLimits(seconds=0.2, memory_mb=2, recursion=20, characters=300)
    with Sandbox(limits) as small:
        assert small.run("#" * 301).failure == failures.TOO_LONG
        assert small.run(body("return [0] * 1000000")).failure == failures.MEMORY
        down = "def down(k):\n    return 0 if k == 0 else down(k - 1)\n"
        deep = f"import math\n{down}def make_walker():\n    return down({{}})\n"
        assert small.run(deep.format(10)).value == 0
        assert small.run(deep.format(30)).failure == failures.RECURSION
        assert small.run(GOOD).value == WALKER
