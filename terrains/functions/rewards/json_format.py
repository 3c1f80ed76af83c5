"""JSON in a required format as a reward: whether it parses, and which share of the requirements it meets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from terrains.functions.rewards.json_schema import KEYWORDS, TYPES, checks, unknown_keywords
from terrains.functions.settings import Settings


class JsonFormatConfig(Settings):
    """Settings of the reward ``json``."""

    keys: dict[str, str] = Field(default_factory=dict)
    """Keys the object must have, each with its type: string, integer, number, boolean, array, object, null or any."""
    only_keys: bool = False
    """Whether other keys are wrong."""
    json_schema: dict[str, Any] = Field(default_factory=dict)
    """In place of ``keys``, a JSON schema: of its keywords type, required, properties, additionalProperties, items,
    enum, const, minimum, maximum, minLength, maxLength, minItems, maxItems and pattern."""
    parses: float = Field(0.25, ge=0, le=1)
    """The reward of JSON that meets nothing else. The rest is given by the share of checks that are passed."""
    find: Literal["whole", "first"] = "whole"
    """Whether the ``whole`` output has to be JSON, or the ``first`` object or list in it is taken."""
    prefix: str = ""
    """A text that is put before the output, such as ``{`` where the instruction ends with it."""

    @model_validator(mode="after")
    def _is_known(self) -> JsonFormatConfig:
        if self.keys and self.json_schema:
            raise ValueError("give keys or json_schema, not both")
        wrong = [kind for kind in self.keys.values() if kind not in (*TYPES, "any")]
        if wrong:
            raise ValueError(f"keys: there is no type {wrong[0]!r} (there are: {', '.join(TYPES)}, any)")
        if unknown := unknown_keywords(self.json_schema):
            raise ValueError(f"json_schema: {unknown[0]} is not among the keywords {', '.join(KEYWORDS)}")
        return self

    def as_schema(self) -> dict[str, Any]:
        """Returns the requirements as a schema."""
        if not self.keys:
            return self.json_schema
        properties = {key: {} if kind == "any" else {"type": kind} for key, kind in self.keys.items()}
        schema = {"type": "object", "required": list(self.keys), "properties": properties}
        return schema | ({"additionalProperties": False} if self.only_keys else {})


class JsonFormat:
    """Rewards outputs that are JSON in a required format; what meets all requirements gets 1, other texts 0."""

    Config = JsonFormatConfig

    def __init__(self, config: JsonFormatConfig) -> None:
        self.config = config
        self._schema = config.as_schema()

    def __call__(self, outputs: Sequence[str]) -> list[float]:
        """Returns a reward for each output."""
        return [self._reward(self.config.prefix + output) for output in outputs]

    def _reward(self, text: str) -> float:
        try:
            value = _first(text) if self.config.find == "first" else json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return 0.0
        passed = checks(value, self._schema)
        share = sum(passed) / len(passed) if passed else 1.0
        return self.config.parses + (1 - self.config.parses) * share


def _first(text: str) -> Any:
    """The first object or list in a text."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    for place, character in enumerate(text):
        if character in "{[":
            try:
                return decoder.raw_decode(text, place)[0]
            except ValueError:
                continue
    raise ValueError("holds no JSON")


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
