"""How many digits a person is shown: enough to tell numbers apart, whatever a world counts fitness in."""

from __future__ import annotations

from collections.abc import Iterable


def decimals_for(values: Iterable[float]) -> int:
    """Returns how many decimals a table of such numbers needs: 1, or 2 or 3 where none of them reaches 10 or 1."""
    largest = max(map(abs, values), default=0.0)
    if largest >= 10 or largest == 0:
        return 1
    return 2 if largest >= 1 else 3


def fitness_text(value: float) -> str:
    """Returns one fitness as a text, with a decimal, or three digits where it is below 1."""
    return f"{value:.1f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def measure_text(value: float | None) -> str:
    """Returns a measure as a text of three digits, or of all its whole ones; a dash for none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def interval_text(low: float, high: float, decimals: int, between: str = " to ") -> str:
    """Returns an interval as a text; the sign between its ends gives way to a word where one is negative."""
    return f"{low:.{decimals}f}{between if low >= 0 else ' to '}{high:.{decimals}f}"
