"""From rows with fields to a terrain's instructions with metadata."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from terrains.base import Instruction
from terrains.errors import WorldError, did_you_mean, is_utf8
from terrains.functions.config import Rows, TerrainConfig
from terrains.functions.data_files import TEXT_FIELD, Row, read_rows

ARGUMENTS = ("samples", "prompts", "outputs", "tokenizer", "output_ids", "terrain")
"""What functions are given besides metadata."""

_BRACES = re.compile(r"\{\{\{([^{}]+)\}\}\}|\{\{([^{}]+)\}\}|\{([^{}]+)\}")
_NAME = re.compile(r"\s*([^\W\d]\w*)\s*(?:![rsa])?(?::[^\s\"']*)?")
"""What can only be meant as a field, a format behind it or not; other braces are text, such as that of JSON."""


def make_instructions(
    name: str, config: TerrainConfig, seed: int = 0
) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    """Returns a terrain's instructions, those of training and those of evaluation.

    Every instruction's metadata have the same fields; what a row lacks is None.

    Args:
        name: the terrain's name, for messages.
        config: the terrain's settings, complete.
        seed: decides which data are set aside for evaluation.

    Raises:
        WorldError: a file cannot be read, or lacks a field; the message names the line and the nearest field.
    """
    rows = _rows(name, "instructions", config, config.instructions, config.data)
    eval_rows = _rows(name, "eval_instructions", config, config.eval_instructions, config.eval_data)
    fields = _metadata_fields(name, config, [row for _, row in rows + eval_rows])
    train = [_instruction(place, row, config, fields) for place, row in rows]
    evaluation = [_instruction(place, row, config, fields) for place, row in eval_rows]
    if config.eval_fraction is not None and not evaluation:
        train, evaluation = set_aside(name, train, config.eval_fraction, seed)
    return tuple(train), tuple(evaluation)


def set_aside(
    name: str, every: Sequence[Instruction], fraction: float, seed: int
) -> tuple[list[Instruction], list[Instruction]]:
    """Splits instructions into those of training and those of evaluation, which have no text in common.

    A text's hash decides, so that rows that are added to a file later move few of the others.

    Raises:
        WorldError: there are too few instructions that differ.
    """
    texts = list(dict.fromkeys(each.text for each in every))
    ranked = sorted(texts, key=lambda text: hashlib.sha256(f"{seed} {text}".encode()).digest())
    count = max(1, round(fraction * len(texts)))
    if count >= len(texts):
        raise WorldError(f"terrain {name!r}: of {len(texts)} instructions none is left when some are set aside")
    chosen = set(ranked[:count])
    return [each for each in every if each.text not in chosen], [each for each in every if each.text in chosen]


def _rows(name: str, setting: str, config: TerrainConfig, written: Rows, files: Iterable[str]) -> list[Row]:
    field = config.instruction_field or TEXT_FIELD
    here = [
        (f"terrain {name!r}, {setting}[{number}]", {field: row} if isinstance(row, str) else row)
        for number, row in enumerate(written)
    ]
    return here + [row for file in files for row in read_rows(file, config.limit)]


def _metadata_fields(name: str, config: TerrainConfig, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    known = dict.fromkeys(field for row in rows for field in row)
    if config.fields is not None:
        for field in config.fields:
            if field not in known:
                raise WorldError(f"terrain {name!r}: fields: there is no field {field!r}{did_you_mean(field, known)}")
        fields = config.fields
    else:
        fields = tuple(field for field in known if field != (config.instruction_field or TEXT_FIELD))
    for field in fields:
        if field in ARGUMENTS:
            raise WorldError(
                f"terrain {name!r}: a field is called {field!r}, as an argument of every reward function: rename it in "
                "the data, or list the fields that are needed under fields"
            )
    return fields


def _instruction(place: str, row: Mapping[str, Any], config: TerrainConfig, fields: Sequence[str]) -> Instruction:
    if config.template is None:
        text = _text(place, row, config.instruction_field or TEXT_FIELD)
    else:
        text = _by_template(place, row, config.template)
    return Instruction(text, {field: _plain(place, field, row.get(field)) for field in fields})


def _by_template(place: str, row: Mapping[str, Any], template: str) -> str:
    """A template with fields in it, where two braces of a kind before and behind a name stand for one, as in Python."""
    filled = [False]

    def stands_for(match: re.Match[str]) -> str:
        inner, doubled, single = match.groups()
        if doubled is not None:
            return f"{{{doubled}}}" if doubled in row or _NAME.fullmatch(doubled) else match[0]
        said = _filled(place, row, inner or single)
        if said is None:
            return match[0]
        filled[0] = True
        return f"{{{said}}}" if inner else said

    text = _BRACES.sub(stands_for, template)
    doubled = next((found[2] for found in _BRACES.finditer(template) if found[2] in row), None)
    if doubled is not None and not filled[0]:
        raise WorldError(
            f"{place}: the template has {{{{{doubled}}}}}, which is the text {{{doubled}}}, and no field; write "
            f"{{{doubled}}} for the field"
        )
    return text


def _filled(place: str, row: Mapping[str, Any], said: str) -> str | None:
    """What stands for braces of a template: a field's text, or None for the braces themselves."""
    if said in row:
        return _text(place, row, said)
    if not (name := _NAME.fullmatch(said)):
        return None
    if name[1] != said and name[1] in row:
        raise WorldError(f"{place}: the template has '{{{said}}}'; write {{{name[1]}}}, a field's name alone")
    return None if ":" in said or "!" in said else _text(place, row, said.strip())


def _plain(place: str, field: str, value: Any) -> Any:
    """A field's value as JSON has it, since a run's folder keeps it: dates are texts, decimals are numbers.

    Raises:
        WorldError: it is something else, such as bytes.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(place, field, each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(place, field, each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(place, field, each) for each in value), key=repr)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if callable(getattr(value, "tolist", None)):
        return _plain(place, field, value.tolist())
    raise WorldError(
        f"{place}: {field!r} is {type(value).__name__!r}, which no run's folder can keep; list the fields that are "
        "needed under fields"
    )


def _text(place: str, row: Mapping[str, Any], field: str) -> str:
    if field not in row:
        raise WorldError(
            f"{place}: has no field {field!r}{did_you_mean(field, row)} (its fields: {', '.join(map(str, row))})"
        )
    value = row[field]
    if value is None or isinstance(value, list | dict) or value == "":
        raise WorldError(f"{place}: {field!r} is {'empty' if value in (None, '', [], {}) else 'no text'}")
    if not is_utf8(text := str(value)):
        raise WorldError(f"{place}: {field!r} has half of a character (a lone surrogate), which no text can")
    return text
