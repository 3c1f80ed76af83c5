"""Reads YAML files into plain sections, whatever format they are in, and says in one line what is wrong with a file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distributed.errors import UserError
from terrains.loading import expanded

LONGEST = 1_000_000
"""Bytes of a configuration file beyond which it is not looked at; none is near it."""

OTHER_ENDINGS = {
    ".pbtxt": "is a configuration of a Triton server, which serves models; `terraprompt export` registers prompts",
    ".py": "is a Python program: `terraprompt config convert` writes the TRLConfig(...) in one as YAML",
    ".ipynb": "is a notebook, and no YAML",
    ".safetensors": "holds weights; model.model_path names the directory of a language model",
    ".bin": "holds weights; model.model_path names the directory of a language model",
    ".jsonl": "holds data, and no settings",
    ".csv": "holds data, and no settings",
}
"""What files are that are no YAML, by how their names end."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would silently keep the second.

    Only what is written is looked at: what a merge key (``<<: *base``) brings along gives way to the keys beside it.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key has to be text", key.start_mark)
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return node


def read_sections(path: str | Path) -> Mapping[str, Any]:
    """Reads a YAML file as the sections it consists of, in any format.

    Raises:
        UserError: the file is not there or no YAML.
    """
    file = expanded(path)
    if file.suffix in OTHER_ENDINGS and file.is_file():
        raise UserError(f"{str(path)!r} {OTHER_ENDINGS[file.suffix]}")
    try:
        with file.open("rb") as opened:
            data = opened.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise ValueError(f"it is larger than {LONGEST:,} bytes")
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"no configuration file {str(path)!r}{_nearest_file(file)}") from None
    except (OSError, ValueError) as error:  # bytes that are no text, or a path that no file can have
        raise UserError(f"cannot read the configuration file {str(path)!r}: {error}") from None
    return _parse(text, str(path))


def _parse(text: str, source: str) -> Mapping[str, Any]:
    """Parses YAML that is a mapping; an empty file is one without settings."""
    try:
        data = load_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{source} is not valid YAML{where}: {what}") from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise UserError(f"{source} is no configuration: it has to consist of sections such as `method:`")
    return data


def load_yaml(text: str) -> Any:
    """Parses YAML.

    Raises:
        yaml.YAMLError: it is none, or a value in it cannot be: a 13th month, more digits or brackets than Python takes.
    """
    try:
        data = yaml.load(text, _Loader)  # a SafeLoader
        _size(data, {})
        return data
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from None
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def _size(data: Any, known: dict[int, int]) -> int:
    """Counts values as they stand once aliases are written out, each of which may double them.

    Raises:
        yaml.YAMLError: there are more than ``LONGEST``.
    """
    if not isinstance(data, dict | list):
        return 1
    if id(data) not in known:
        known[id(data)] = 1  # for an alias that stands inside what it stands for
        known[id(data)] = 1 + sum(_size(each, known) for each in (data.values() if isinstance(data, dict) else data))
        if known[id(data)] > LONGEST:
            raise yaml.YAMLError(f"with its aliases written out it has more than {LONGEST:,} values")
    return known[id(data)]


def _nearest_file(file: Path) -> str:
    """Names a file of the same directory, or of ``configs``, with a name like this one's."""
    there = [each for folder in (file.parent, Path("configs")) for each in sorted(folder.glob("*.y*ml"))]
    found = difflib.get_close_matches(file.name, [each.name for each in there], n=1)
    return f"; did you mean {next(each for each in there if each.name == found[0])}?" if found else ""
