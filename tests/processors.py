"""Runs the tests of arithmetic as other processors would: ``make test-processors``.

Torch, oneDNN, MKL and numba choose instructions by the processor they find. They can be told to find another one, and
with other instructions sums go in another order: a test that holds by luck here fails there. Each setting compiles its
kernels into a cache of its own, which is thrown away.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
MARK = "pytest.mark.arithmetic"

LOWEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",  # unless it is said, numba takes those of the processor that is there
}
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
}
SHORT = [
    "test_read.py",
    "test_llama_reader.py",
    "test_decoders.py",
    "test_sampler.py",
    "test_draw.py",
    "test_evaluate.py",
]
"""What touches most of the kernels in little time."""


@dataclass(frozen=True)
class Setting:
    """A processor to be taken for, and a number of threads."""

    name: str
    instructions: dict[str, str]
    threads: int

    def environment(self, folder: Path) -> dict[str, str]:
        """What a process is told."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TERRAPROMPT_TEST_THREADS"), str(self.threads))
        return os.environ | self.instructions | threads | {"NUMBA_CACHE_DIR": str(folder / "numba")}


SETTINGS = [
    Setting(name, instructions, threads)
    for name, instructions in (("lowest", LOWEST), ("AVX2", AVX2))
    for threads in (1, 2)
]


@dataclass(frozen=True)
class Outcome:
    """What became of the tests under one setting."""

    passed: int
    failed: int
    skipped: int
    seconds: float
    said: str


def run(setting: Setting, files: list[str], more: list[str]) -> Outcome:
    """Runs tests under a setting, in two processes."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="terraprompt-processors-") as name:
        folder = Path(name)
        report = folder / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", "arithmetic and not slow", "-n", "2", "--dist", "loadfile"]
        command += ["-p", "no:cacheprovider", f"--junitxml={report}", *files, *more]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=setting.environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        counts = _counts(report) if report.exists() else {}
    failed = counts.get("failures", 0) + counts.get("errors", 0)
    skipped = counts.get("skipped", 0)
    passed = counts.get("tests", 0) - failed - skipped
    if not failed and (done.returncode or not passed):
        failed = 1  # it broke down before it could say more
    return Outcome(passed, failed, skipped, time.perf_counter() - began, done.stdout)


def _counts(report: Path) -> dict[str, int]:
    suite = ElementTree.parse(report).getroot().find("testsuite")
    names = ("tests", "failures", "errors", "skipped")
    return {} if suite is None else {name: int(suite.get(name, 0)) for name in names}


def arithmetic() -> list[str]:
    """Files with tests of arithmetic. To look for them by name spares importing all others."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if MARK in file.read_text()]


def has_avx2() -> bool:
    """Whether there is anything to pretend: a processor without these instructions would stop at the first of them."""
    import torch

    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def main() -> int:
    """Prints a table of settings; returns how many tests failed, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="the lowest setting and the most telling tests alone")
    options, more = parser.parse_known_args()
    files = arithmetic()
    if options.short:
        files = [file for file in files if Path(file).name in SHORT]
        missing = set(SHORT) - {Path(file).name for file in files}
        if missing:
            raise SystemExit(f"no tests of arithmetic in {', '.join(sorted(missing))}: name the files anew in SHORT")
    console = Console(width=100)
    table = Table("instructions", "threads", "passed", "failed", "skipped", "seconds", title="Tests of arithmetic")
    outcomes: list[Outcome] = []
    for setting in SETTINGS[:1] if options.short else SETTINGS:
        if setting.instructions is AVX2 and not has_avx2():
            table.add_row(setting.name, str(setting.threads), "not here", "", "", "")
            continue
        outcome = run(setting, files, more)
        outcomes.append(outcome)
        counts = outcome.passed, outcome.failed, outcome.skipped, round(outcome.seconds)
        table.add_row(setting.name, str(setting.threads), *map(str, counts))
        print(f"{setting.name}, {setting.threads} threads: {counts[1]} failed, {counts[0]} passed", flush=True)
        if outcome.failed:
            print(outcome.said, flush=True)
    console.print(table)
    passed, failed, skipped = (sum(getattr(o, name) for o in outcomes) for name in ("passed", "failed", "skipped"))
    seconds = sum(outcome.seconds for outcome in outcomes)
    print(f"{failed} failed, {passed} passed, {skipped} skipped in {seconds:.2f}s")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
