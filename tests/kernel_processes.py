"""Processes that import copies of the kernels' sources alone, so that tests can edit them and empty their caches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import softprompt.kernels
import terrains.sodarace


def packages(folder: Path) -> Path:
    """Copies what kernels are made of; with empty packages around it nothing else is imported."""
    sodarace = Path(terrains.sodarace.__file__)
    for package, sources in (
        (softprompt.kernels, sorted(Path(softprompt.kernels.__file__).parent.glob("*.py"))),
        (terrains.sodarace, [sodarace.with_name(f"{name}.py") for name in ("kernel", "kernel_cache")]),
    ):
        target = folder / package.__name__.replace(".", "/")
        target.mkdir(parents=True)
        for parent in (target, *target.parents):
            if parent == folder:
                break
            (parent / "__init__.py").touch()
        for source in sources:
            if source.name != "__init__.py":
                shutil.copy(source, target)
    return folder


def start(script: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Starts a Python process that imports from this folder; numba's settings are those given here and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=inherited | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def words(process: subprocess.Popen[str]) -> list[str]:
    """Waits for a process; returns the words it printed."""
    out, error = process.communicate()
    assert process.returncode == 0, error
    return out.split()


def run(script: str, folder: Path, **environment: str) -> list[str]:
    """Returns the words that a script prints."""
    return words(start(script, folder, **environment))


def agree_side_by_side(script: str, folder: Path) -> None:
    """Checks that a process that compiles and one that loads what is kept print the same while both are running.

    Args:
        script: prints results, and last how many kernels came from the cache.
        folder: the sources, whose cache beside them is empty.
    """
    *cold, hits = run(script, folder)
    assert hits == "0"
    loading = start(script, folder)
    compiling = start(script, folder, NUMBA_CACHE_DIR=str(folder / "empty"))
    assert words(loading) == [*cold, "1"]
    assert words(compiling) == [*cold, "0"]
