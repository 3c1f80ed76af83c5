from __future__ import annotations

import math

import pytest
import torch

from softprompt.rl.kl import AdaptiveKLController, FixedKLController, k1, k3, make_kl_controller
from tests.accuracy import assert_rounded

pytestmark = pytest.mark.arithmetic


def test_estimators_are_unbiased_and_k3_is_never_negative():
    """Summed over all tokens with their probabilities, both are the KL divergence itself."""
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    exact = (p * (p / q).log()).sum()
    torch.testing.assert_close((p * k1(p.log(), q.log())).sum(), exact)
    torch.testing.assert_close((p * k3(p.log(), q.log())).sum(), exact)
    assert (k3(p.log(), q.log()) > 0).all()
    assert (k1(p.log(), q.log()) < 0).any()
    assert not k3(p.log(), p.log()).any()


def test_k3_golden_numbers():
    # log ratio q/p of ln 2 and of -ln 2: 2 - 1 - ln 2 and 1/2 - 1 + ln 2.
    log_2 = torch.tensor(2.0).log()
    found = k3(torch.stack([-log_2, log_2]), torch.zeros(2))
    # As large as the ratios, from which they are what is left.
    assert_rounded(2 + found.double(), [3 - math.log(2), 1.5 + math.log(2)])


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (12.0, 0.1 * (1 + 0.2 * 0.5)),  # twice the target: clipped to +0.2
        (6.6, 0.1 * (1 + 0.1 * 0.5)),
        (6.0, 0.1),
        (0.0, 0.1 * (1 - 0.2 * 0.5)),
    ],
)
def test_adaptive_controller_golden_numbers(kl, expected):
    controller = AdaptiveKLController(0.1, target=6.0, horizon=64)
    controller.update(kl, n_samples=32)
    assert controller.value == pytest.approx(expected)


def test_adaptive_controller_brings_kl_to_its_target():
    """A policy whose KL falls as its price rises settles where it is asked to."""
    controller = AdaptiveKLController(0.01, target=2.0, horizon=1000)
    for _ in range(500):
        controller.update(1 / controller.value, n_samples=100)
    assert 1 / controller.value == pytest.approx(2.0, rel=0.02)


def test_fixed_controller_stays():
    controller = make_kl_controller(0.05, None, 100)
    controller.update(99.0, 10)
    assert controller.value == 0.05 and type(controller) is FixedKLController


def test_controller_continues_where_it_was():
    first = make_kl_controller(0.05, 6.0, 100)
    first.update(99.0, 10)
    second = make_kl_controller(1.0, 6.0, 100)
    second.load_state_dict(first.state_dict())
    assert second.value == first.value != 0.05


@pytest.mark.parametrize(("target", "horizon"), [(0.0, 10), (1.0, 0)])
def test_controller_without_a_target_to_divide_by_is_refused(target, horizon):
    with pytest.raises(ValueError, match="must be positive"):
        AdaptiveKLController(0.1, target, horizon)
