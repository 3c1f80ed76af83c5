"""Where benchmarks leave their results, one JSON file of which may hold those of several, and how sure they are."""

from __future__ import annotations

import argparse
import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distributed.results.summary import bootstrap_interval

RESULTS = Path(__file__).resolve().parent / "results"


def interval(values: Sequence[float]) -> list[float]:
    """Bootstrap 95% interval of the mean."""
    return bootstrap_interval(np.array(values), np.random.default_rng(0), resamples=10_000).tolist()


def merge(path: Path, found: Mapping[str, Any]) -> None:
    """Writes results into a file, whole or not at all; what others left in it under other keys stays."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(before | dict(found), indent=2) + "\n")
    os.replace(partial, path)


def check_recipes(parser: argparse.ArgumentParser, names: Iterable[str], recipes: Mapping[str, Any]) -> None:
    """Ends the program with the nearest right name where there is no such recipe."""
    for name in names:
        if name not in recipes:
            near = difflib.get_close_matches(name, recipes, 1, 0)[0]
            parser.error(f"there is no recipe {name!r}; did you mean {near!r}?")
