"""Sentiment as a reward: by VADER's word list, or by a classifier where a model is named.

Hutto and Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from terrains.errors import WorldError
from terrains.functions.settings import Settings
from terrains.loading import load_callable


class SentimentConfig(Settings):
    """Settings of the reward ``sentiment``."""

    goal: Literal["positive", "negative"] = "positive"
    """Which sentiment is rewarded, from 0 to 1; 0.5 is neither."""
    of: Literal["outputs", "samples"] = "outputs"
    """What is read: what was written, or the instruction too."""
    model: str | None = None
    """A sequence classifier of transformers, by folder or name, in place of VADER."""
    label: str | None = None
    """The classifier's label of the goal; left out, ``POSITIVE`` or ``NEGATIVE``."""
    device: str = "cpu"
    """The classifier's torch device."""


class Sentiment:
    """Rewards texts by their sentiment.

    Raises:
        WorldError: VADER is not installed; the message says how to install it.
    """

    Config = SentimentConfig

    def __init__(self, config: SentimentConfig) -> None:
        self.config = config
        self._score = self._by_model() if config.model else self._by_vader()

    def __call__(self, samples: Sequence[str], outputs: Sequence[str]) -> list[float]:
        """Returns a reward for each text."""
        return self._score(outputs if self.config.of == "outputs" else samples)

    def _by_vader(self) -> Any:
        try:
            from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
        except ImportError:
            raise WorldError("VADER is not installed: pip install vaderSentiment, or name a model") from None
        analyzer = SentimentIntensityAnalyzer()
        sign = 1 if self.config.goal == "positive" else -1

        def score(texts: Sequence[str]) -> list[float]:
            return [0.5 + 0.5 * sign * float(analyzer.polarity_scores(text)["compound"]) for text in texts]

        return score

    def _by_model(self) -> Any:
        kind: Any = load_callable("softprompt.rewards.classifier:Classifier")
        label = self.config.label or self.config.goal.upper()
        classifier = kind(kind.Config(model=self.config.model, label=label, device=self.config.device))
        return lambda texts: classifier(samples=texts, outputs=texts)
