"""Scores of configs/json_offline.yml: whether an answer has the required format, and whether what it says is right."""

import json

KEYS = {"name": str, "age": int, "city": str}


def read(output):
    """What an output says as JSON; None where it is no JSON."""
    try:
        return json.loads(output)
    except ValueError:
        return None


def formatted(value):
    """Whether a value has the keys, and no others, and each of its type."""
    return isinstance(value, dict) and {key: type(each) for key, each in value.items()} == KEYS


def shares(outputs, name, age, city):
    """Of each output, the share of the three values that are those of the sentence."""
    answers = [{"name": n, "age": a, "city": c} for n, a, c in zip(name, age, city, strict=True)]
    values = [read(output) for output in outputs]
    return [
        sum(value.get(key) == each for key, each in answer.items()) / 3 if isinstance(value, dict) else 0.0
        for value, answer in zip(values, answers, strict=True)
    ]


def has_format(outputs, **rest):
    """1 for an object with the three keys, each of its type, and nothing before it or behind it."""
    return [float(formatted(read(output))) for output in outputs]


def right(outputs, name, age, city, **rest):
    """The share of right values."""
    return shares(outputs, name, age, city)


def complete(outputs, name, age, city, **rest):
    """1 for the required format with all three values right."""
    found = zip(has_format(outputs), shares(outputs, name, age, city), strict=True)
    return [float(has and share == 1.0) for has, share in found]
