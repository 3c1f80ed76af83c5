"""Where benchmarks leave their results: one JSON file may hold those of several."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def merge(path: Path, found: Mapping[str, Any]) -> None:
    """Writes results into a file, whole or not at all; what others left in it under other keys stays."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(before | dict(found), indent=2) + "\n")
    os.replace(partial, path)
