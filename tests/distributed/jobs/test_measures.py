"""What a world measures besides fitness: from its code to the summary, the printed tables and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.distributed.docs import documented
from tests.distributed.finished_runs import main_exit
from tests.distributed.jobs.test_new_world import FAST
from tests.distributed.pages import Page

METRICS = """
    metric_units = {"length": "characters"}
    fitness_unit = "%"

    def metrics(self, attempts):
        return {"length": [float(len(each.program)) for each in attempts]}

    def close"""
LATER = [*(each for each in FAST if "total_steps" not in each), "train.total_steps=2", "train.eval_interval=1"]


def options(page: str) -> list[str]:
    """Settings that let the documented task of a page measure the length of texts."""
    if page == "worlds.md":
        file = Path("letters.py")
        file.write_text(file.read_text().replace("\n    def close", METRICS, 1))
        return []
    length = "{name: length, per: 1, unit: characters, at_most: null}"
    return [
        f"terrains.options.measures={{length: {length}}}",
        "terrains.options.units={length: characters, fitness: '%'}",
    ]


@pytest.mark.parametrize("page", ["worlds.md", "rewards.md"])
def test_measures_are_in_the_summary_the_table_and_the_report(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = documented(page, tmp_path)
    changed = [*options(page), f"model.model_path={tiny_lm[1]}", *LATER]
    assert main_exit("train", "--config", str(settings), *changed) == 0
    said = capsys.readouterr()
    summary = json.loads(Path("runs/letters/summary.json").read_text())
    assert summary["units"] == {"length": "characters", "fitness": "%"}
    means = summary["metrics"]["length"]
    assert list(means) == ["e", "t"] and all(set(each) == {"untuned", "tuned"} for each in means.values())
    rows = [line.split() for line in (said.out + said.err).splitlines() if line.startswith("length (characters)")]
    assert rows == [["length", "(characters)", "e", *(f"{means['e'][when]:.3g}" for when in ("untuned", "tuned"))]]
    report = Page(Path("runs/letters/report.html").read_text())
    assert "Measures" in report.text and "length (characters)" in report.text
    [chart] = [each for each in json.loads(report.scripts[0])["charts"] if each["title"] == "length"]
    assert [s["label"] for s in chart["series"]] == ["e", "t"]
    first = chart["series"][0]
    assert first["baseline"] == means["e"]["untuned"] == first["points"][0][1]
    assert len(first["points"]) == 3 and first["points"][-1][1] == means["e"]["tuned"]
