"""What is said of runs that learn nothing."""

from __future__ import annotations

import pytest

from distributed.training.diagnostics import ALIKE, COLLAPSED, INVALID, PATIENCE, STILL, diagnostics

HEALTHY = {
    "valid/a": 0.5,
    "valid/e": 0.0,
    "reward_std/a": 0.1,
    "reward_std/e": 0.0,
    "moved/a": 0.1,
    "moved/e": 0.0,
    "unique/a": 0.5,
    "unique/e": 0.1,
}
NAMES = ["a", "e"]


def steps(n: int = PATIENCE, **changed: float) -> list[dict]:
    return [HEALTHY | {"/".join(name.rsplit("_", 1)): value for name, value in changed.items()} for _ in range(n)]


def test_a_run_that_learns_somewhere_is_left_alone():
    assert diagnostics(steps(20), NAMES) == {}


@pytest.mark.parametrize(
    ("changed", "kind", "advice"),
    [
        ({"valid_a": 0.0, "reward_std_a": 0.0}, INVALID, "method.n_soft_tokens"),
        ({"reward_std_a": 0.0}, ALIKE, "method.num_rollouts"),
        ({"moved_a": 0.004}, STILL, "optimizer.kwargs.lr"),
        ({"unique_a": 0.1}, COLLAPSED, "method.unique_target"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do_but_not_before_it_has_lasted(changed, kind, advice):
    assert diagnostics(steps(PATIENCE - 1, **changed), NAMES) == {}
    assert diagnostics([*steps(1), *steps(PATIENCE - 1, **changed)], NAMES) == {}
    found = diagnostics(steps(**changed), NAMES)
    assert list(found) == [kind] and advice in found[kind] and "\n" not in found[kind]


def test_what_a_step_does_not_report_is_not_judged():
    bare = [{key: value for key, value in each.items() if key.startswith("valid")} for each in steps()]
    assert diagnostics(bare, NAMES) == {}
