"""Distance between two policies from sampled tokens, and what sets its price."""

from __future__ import annotations

from torch import Tensor


def k1(logprobs: Tensor, other_logprobs: Tensor) -> Tensor:
    """Returns log p - log q, cell by cell: unbiased for KL(p || q) over tokens drawn from p, of either sign.

    Source: Schulman, "Approximating KL divergence", joschu.net/blog/kl-approx.html, estimator k1.

    Args:
        logprobs: log-probabilities under p, which drew the tokens, any shape.
        other_logprobs: log-probabilities under q, the same shape.
    """
    return logprobs - other_logprobs


def k3(logprobs: Tensor, other_logprobs: Tensor) -> Tensor:
    """Returns q/p - 1 - log(q/p), cell by cell: unbiased as k1 is, never negative, and of less variance.

    Source: as :func:`k1`, estimator k3. trlx's ``policy/sqrt_kl`` is ``sqrt`` of this with the arguments exchanged,
    which is not unbiased; call it with the reference first to obtain trlx's figure.

    Args:
        logprobs: log-probabilities under p, which drew the tokens, any shape.
        other_logprobs: log-probabilities under q, the same shape.
    """
    log_ratio = other_logprobs - logprobs
    return log_ratio.expm1() - log_ratio


class FixedKLController:
    """A KL coefficient that stays.

    Attributes:
        value: the coefficient.
    """

    def __init__(self, value: float) -> None:
        """Takes the coefficient."""
        self.value = value

    def update(self, kl: float, n_samples: int) -> None:
        """Does nothing; see :meth:`AdaptiveKLController.update`."""

    def state_dict(self) -> dict[str, float]:
        """Returns what :meth:`load_state_dict` takes."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continues where another controller was."""
        self.value = state["value"]


class AdaptiveKLController(FixedKLController):
    """A KL coefficient that grows while the policy is farther from the reference than asked, else shrinks.

    Source: Ziegler et al. 2019, arXiv 1909.08593, section 2.2.

    Attributes:
        value: the coefficient.
        target: the KL per program, in nats, that is asked for.
        horizon: samples over which the coefficient may grow e^0.2-fold, about.
    """

    def __init__(self, value: float, target: float, horizon: float) -> None:
        """Takes the first coefficient, the target and the horizon.

        Raises:
            ValueError: target or horizon is not positive.
        """
        if target <= 0 or horizon <= 0:
            raise ValueError(f"target and horizon of the KL coefficient must be positive, not {target} and {horizon}")
        super().__init__(value)
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, n_samples: int) -> None:
        """Moves the coefficient.

        Args:
            kl: KL per program measured now, in nats.
            n_samples: programs it was measured on.
        """
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.value *= 1 + error * n_samples / self.horizon


def make_kl_controller(value: float, target: float | None, horizon: float) -> FixedKLController:
    """Returns what trlx's ``init_kl_coef``, ``target`` and ``horizon`` ask for: without a target the value stays."""
    return FixedKLController(value) if target is None else AdaptiveKLController(value, target, horizon)
