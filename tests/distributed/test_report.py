"""Invariants of distributed.report and distributed.report_curves."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from distributed.page import embed_json
from distributed.report import render_report, write_report
from distributed.report_curves import curves
from distributed.summary import Summary, TerrainSummary
from distributed.walkers import WalkerShow
from tests.distributed.pages import EVIL, Page


def summary_of(*names, **extra):
    row = TerrainSummary(
        untuned_mean=10.0,
        untuned_valid=0.8,
        best_of_n=90.0,
        n=64,
        tuned_mean=40.0,
        tuned_valid=0.9,
        tuned_interval=(35.0, 44.0),
        tuned_unique=0.5,
    )
    transfer = {prompt: {terrain: 40.0 if prompt == terrain else 12.0 for terrain in names} for prompt in names}
    return Summary(seed=0, rollouts=64, seconds=61.0, terrains=dict.fromkeys(names, row), transfer=transfer, **extra)


def walker_show(terrain, program="pass", title="best tuned"):
    frames = np.linspace(0, 1, 8 * 3 * 2).reshape(8, 3, 2) * 30
    ground = SimpleNamespace(floor=np.array([[-100.0, 0.0], [100.0, 0.0]]), ceiling=None)
    return WalkerShow(terrain, title, 12.0, program, frames, ground, muscles=np.array([[0, 1], [1, 2]]))


def history_of(*names):
    return [
        {"step": k, "phase": "warm start" if k < 3 else "ppo", "entropy": 1.0 / k}
        | {f"fitness/{name}": 10.0 + k for name in names}
        | {f"valid/{name}": 0.5 for name in names}
        for k in range(1, 6)
    ]


def test_untrusted_text_never_becomes_markup():
    page = Page(
        render_report(
            summary_of(EVIL, config={EVIL: EVIL}),
            [{"step": 1, "phase": EVIL, EVIL: 1.0, f"fitness/{EVIL}": 2.0}],
            [walker_show(EVIL, EVIL, EVIL)],
            {"title": EVIL, EVIL: EVIL},
        )
    )
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert EVIL in page.text
    assert json.loads(page.scripts[0])["terrains"] == [EVIL]


def test_json_in_the_page_reads_back_equal():
    data = {"text": EVIL + "\u2028\ud800", "numbers": [1.5, None]}
    text = embed_json(data)
    assert json.loads(text) == data
    assert not set("<>&") & set(text)


def test_the_page_loads_nothing_and_runs_only_its_own_script():
    text = render_report(summary_of("flat"), history_of("flat"), [walker_show("flat")])
    page = Page(text)
    assert page.links == []
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_a_program_with_a_lone_surrogate_can_be_written(tmp_path):
    path = write_report(tmp_path / "report.html", summary_of("flat"), [], [walker_show("flat", "x = '\ud800'")])
    assert "x = &#x27;&#55296;&#x27;" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_curves_hold_every_finite_number_and_nothing_else():
    history = history_of("flat", "tunnel")
    history[1]["fitness/flat"] = float("nan")
    history[2]["note"] = "text"
    data = curves(history, summary_of("flat", "tunnel"))
    assert data["steps"] == [1, 2, 3, 4, 5]
    assert data["phases"] == [{"name": "warm start", "from": 1, "to": 2}, {"name": "ppo", "from": 3, "to": 5}]
    assert [chart["title"] for chart in data["charts"]] == ["Mean fitness", "Valid programs", "entropy"]
    flat, tunnel = data["charts"][0]["series"]
    assert flat["points"] == [[1, 11.0], [3, 13.0], [4, 14.0], [5, 15.0]]
    assert (tunnel["label"], tunnel["terrain"], tunnel["baseline"], len(tunnel["points"])) == ("tunnel", 1, 10.0, 5)


def test_steps_that_start_again_in_a_later_phase_are_drawn_one_after_another():
    history = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0}, {"step": 1, "loss": 1.0}]
    assert curves(history, summary_of("flat"))["steps"] == [1, 2, 3]


def test_walkers_of_a_terrain_are_shown_together_in_the_runs_order():
    shows = [walker_show("tunnel"), walker_show("flat", title="best untuned"), walker_show("flat")]
    text = render_report(summary_of("flat", "tunnel"), [], shows)
    arenas = json.loads(Page(text).scripts[0])["arenas"]
    assert [len(arena) for arena in arenas] == [2, 1]
    assert text.index("best untuned moving") < text.index("best tuned moving")
    assert text.count("<canvas") == 3


def test_a_program_without_a_moving_picture_is_shown_as_text():
    text = render_report(summary_of("reviews"), [], [WalkerShow("reviews", "best tuned", 0.9, "a fine film")])
    assert "a fine film" in text
    assert "<canvas" not in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_draws_the_page_and_runs_no_injected_script(tmp_path):
    names = ["flat", EVIL]
    path = write_report(
        tmp_path / "report.html",
        summary_of(*names),
        history_of(*names),
        [walker_show(name, EVIL) for name in names],
        {"title": "A run"},
    )
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = ["chromium", *options.split(), "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>A run</title>" in page
    assert page.count("<svg") == 3
    assert page.count("of 0.2 s</output>") == 2
