"""Rows of data files: JSONL, JSON, CSV, TSV, Parquet, texts, and data sets of Hugging Face."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from terrains.errors import WorldError, did_you_mean, one_line
from terrains.loading import expanded

HUB = "hf:"
"""How a data set on Hugging Face's hub begins."""
LONGEST_CELL = 2**31 - 1
"""Characters of a cell of a .csv or .tsv file; Python's own limit is 131072."""
TEXT_FIELD = "prompt"
"""The field that a line of a .txt file makes."""

Row = tuple[str, dict[str, Any]]
"""Where a row comes from, such as ``sums.jsonl:17``, and its fields."""


def read_rows(path: str, limit: int | None = None) -> list[Row]:
    """Reads a data file.

    Args:
        path: the file, a folder with a data set, or ``hf:name:subset@split``.
        limit: rows to read at most.

    Raises:
        WorldError: it is not there, holds nothing, or something that is not rows; the message names the line.
    """
    try:
        read = list(islice(_rows(path), limit))
    except UnicodeError:
        raise WorldError(f"{path}: is not a text in UTF-8") from None
    except OSError as error:
        raise WorldError(f"{one_line(path)}: {one_line(error.strerror or error)}") from None
    if not read:
        raise WorldError(f"{path}: holds no rows")
    return read


def _rows(path: str) -> Iterator[Row]:
    if path.startswith(HUB):
        return _hub(path)
    file = expanded(path)
    if file.is_dir():
        return _saved(path, file)
    if not file.is_file():
        siblings = [each.name for each in file.parent.iterdir()] if file.parent.is_dir() else []
        raise WorldError(f"{path}: no such file{did_you_mean(file.name, siblings)}")
    if file.suffix.lower() not in READERS:
        raise WorldError(f"{path}: a data file ends in one of {', '.join(READERS)}")
    return READERS[file.suffix.lower()](path, file)


def _json_lines(path: str, file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{path}:{number}", _fields(f"{path}:{number}", _parsed(f"{path}:{number}", line))


def _json(path: str, file: Path) -> Iterator[Row]:
    rows = _parsed(path, file.read_text("utf-8-sig"))
    if not isinstance(rows, list):
        raise WorldError(f"{path}: holds {_kind(rows)}, and not a list of objects")
    for number, row in enumerate(rows, 1):
        yield f"{path}, row {number}", _fields(f"{path}, row {number}", row)


def _separated(path: str, file: Path) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                place = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    cells = sum(value is not None for key, value in row.items() if key is not None)
                    cells += len(row.get(None) or ())  # type: ignore[call-overload]
                    raise WorldError(
                        f"{place}: {cells} cells, where the first line names {len(reader.fieldnames or ())}"
                    )
                yield place, dict(row)
        except csv.Error as error:
            raise WorldError(f"{path}:{reader.line_num}: {one_line(error)}") from None


def _parquet(path: str, file: Path) -> Iterator[Row]:
    # Imported here: it is large, and few runs have such a file.
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            _check_columns(path, table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except pyarrow.ArrowException as error:
        raise WorldError(f"{path}: is not a Parquet file: {one_line(error)}") from None


def _texts(path: str, file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{path}:{number}", {TEXT_FIELD: line.rstrip("\r\n")}


READERS = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated,
    ".tsv": _separated,
    ".parquet": _parquet,
    ".txt": _texts,
}


def _saved(path: str, folder: Path) -> Iterator[Row]:
    if not any((folder / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
        raise WorldError(f"{path}: is a folder, and none that Hugging Face datasets saved")
    datasets = _datasets(path)
    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise WorldError(f"{path}: {type(error).__name__}: {one_line(error)}") from None
    return _of_dataset(path, data)


def _hub(path: str) -> Iterator[Row]:
    rest, _, split = path.removeprefix(HUB).partition("@")
    name, _, subset = rest.partition(":")
    datasets = _datasets(path)
    try:
        data = datasets.load_dataset(name, subset or None, split=split or "train")
    except ConnectionError as error:
        raise WorldError(
            f"{path}: {one_line(error)}; where there is no network, name a folder that save_to_disk wrote elsewhere"
        ) from None
    except Exception as error:
        raise WorldError(f"{path}: {type(error).__name__}: {one_line(error)}") from None
    return _of_dataset(path, data)


def _datasets(path: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise WorldError(f"{path}: data sets of Hugging Face need a package: pip install datasets") from None
    return datasets


def _of_dataset(path: str, data: Any) -> Iterator[Row]:
    """Rows of a data set; of its split ``train`` where it has several."""
    if hasattr(data, "keys"):
        if "train" not in data:
            raise WorldError(f"{path}: has no split 'train', but {', '.join(data)}: name the folder of one")
        data = data["train"]
    for number, row in enumerate(data, 1):
        yield f"{path}, row {number}", dict(row)


def _check_columns(path: str, names: Sequence[str]) -> None:
    """Refuses a column that is there twice, of which the second alone would be read."""
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise WorldError(f"{path}: has two columns {twice[0]!r}; rename one")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, none of whose names is there twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return fields


def _parsed(place: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise WorldError(f"{place}: is not JSON: {one_line(error)}") from None


def _fields(place: str, row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise WorldError(f"{place}: is {_kind(row)}, and not an object with fields")
    return row


def _kind(value: object) -> str:
    names = {list: "a list", dict: "an object", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
