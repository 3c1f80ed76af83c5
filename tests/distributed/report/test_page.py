"""Invariants of distributed.report.page and distributed.report.curves."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest

from distributed.report.curves import curves
from distributed.report.html import embed_json
from distributed.report.metrics import described
from distributed.report.page import render_report, write_report
from distributed.report.shows import Show
from distributed.results.summary import Summary, TerrainSummary
from terrains.scene import Scene
from tests.browser import Browser, chromium
from tests.distributed.pages import EVIL, Page
from tests.distributed.tiny_runs import LETTERS, config, finish, loop_of


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
    floor = np.array([[-100.0, 0.0], [100.0, 0.0]])
    return Show(terrain, title, 12.0, program, Scene(frames, np.array([[0, 1], [1, 2]]), floor=floor))


def history_of(*names):
    return [
        {"step": k, "phase": "warm start" if k < 3 else "ppo", "surprise": 1.0 / k}
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


def test_a_metric_of_an_older_run_goes_on_in_the_chart_of_its_new_name():
    history = [{"step": 1, "spread/flat": 0.5}, {"step": 2, "spread/flat": 0.25}, {"step": 3, "reward_std/flat": 0.75}]
    [chart] = curves(history, summary_of("flat"))["charts"]
    assert (chart["title"], chart["axis"]) == described("reward_std")[:2]
    assert chart["axis"] == "standard deviation (units of reward)"
    [series] = chart["series"]
    assert (series["label"], series["points"]) == ("flat", [[1, 0.5], [2, 0.25], [3, 0.75]])


def test_curves_hold_every_finite_number_and_a_gap_for_any_other():
    history = history_of("flat", "tunnel")
    history[1]["fitness/flat"] = float("nan")
    history[2]["note"] = "text"
    data = curves(history, summary_of("flat", "tunnel"))
    assert data["steps"] == [1, 2, 3, 4, 5]
    assert data["phases"] == [{"name": "warm start", "from": 1, "to": 2}, {"name": "ppo", "from": 3, "to": 5}]
    assert [chart["title"] for chart in data["charts"]] == ["Mean fitness", "Valid programs", "surprise"]
    flat, tunnel = data["charts"][0]["series"]
    assert flat["points"] == [[1, 11.0], [2, None], [3, 13.0], [4, 14.0], [5, 15.0]]
    assert (tunnel["label"], tunnel["terrain"], tunnel["baseline"], len(tunnel["points"])) == ("tunnel", 1, 10.0, 5)


def test_steps_that_start_again_in_a_later_phase_are_drawn_one_after_another():
    history = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0}, {"step": 1, "loss": 1.0}]
    assert curves(history, summary_of("flat"))["steps"] == [1, 2, 3]


def test_imitation_behind_the_last_step_has_a_place_of_its_own_and_the_steps_keep_theirs():
    history = [{"step": 0, "phase": "warm start", "loss": 1.0}]
    history += [{"step": k, "phase": "steps", "loss": 1.0} for k in (1, 2)]
    data = curves([*history, {"step": 2, "phase": "closing", "loss": 1.0}], summary_of("flat"))
    assert data["steps"] == [0, 1, 2, 3]
    assert data["labels"] == ["warm start, step 0", "step 1", "step 2", "closing, step 2"]


def test_the_best_is_the_best_so_far_and_its_bar_is_the_best_untuned_program():
    best = [50.0, 20.0, float("nan"), 90.0, 10.0]
    history = [{"step": k, "best/flat": value} for k, value in enumerate(best, 1)]
    [chart] = curves(history, summary_of("flat"))["charts"]
    assert "so far" in chart["title"]
    assert chart["series"][0]["points"] == [[1, 50.0], [2, 50.0], [3, 50.0], [4, 90.0], [5, 90.0]]
    assert chart["series"][0]["baseline"] == 90.0


def test_failures_are_zero_where_none_occurred_and_end_where_none_were_counted():
    failures = [{}, {"syntax": 3.0}, {}, {"name": 1.0}, {}]
    history = [
        {"step": k, "phase": "steps", "valid/flat": 0.5, **{f"failures/{kind}": n for kind, n in each.items()}}
        for k, each in enumerate(failures, 1)
    ]
    history = [{"step": 0, "phase": "warm start", "fitness/flat": 1.0}, *history]
    history.append({"step": 5, "phase": "closing", "fitness/flat": 1.0})
    charts = {chart["title"]: chart for chart in curves(history, summary_of("flat"))["charts"]}
    name, syntax = charts["Failed programs by kind"]["series"]
    assert (name["label"], syntax["label"]) == ("name", "syntax")
    assert syntax["points"] == [[1, 0.0], [2, 3.0], [3, 0.0], [4, 0.0], [5, 0.0]]
    assert name["points"] == [[1, 0.0], [2, 0.0], [3, 0.0], [4, 1.0], [5, 0.0]]
    assert name["colour"] != syntax["colour"]


def test_a_metric_of_any_name_has_an_axis_with_a_unit(tiny_lm):
    history = finish(loop_of(config(train__eval_interval=2), tiny_lm[0])).history
    data = curves(history, summary_of(*LETTERS))
    assert len(data["charts"]) > 20
    recorded = [chart for chart in data["charts"] if "as recorded" in chart["axis"]]
    assert [chart["title"] for chart in recorded] == []
    assert all(re.fullmatch(r".+ \(.+\)", title) for title in [data["x_axis"], *(c["axis"] for c in data["charts"])])
    assert described("of/another/world").axis == "of/another/world (as recorded)"


def test_a_metric_of_a_terrain_with_slashes_is_found():
    data = curves([{"step": 1, "eval/fitness/@a/b.json": 2.0}], summary_of("@a/b.json"))
    assert data["charts"][0]["series"][0]["terrain"] == 0


def test_the_header_says_each_thing_once():
    losses = {"losses": 2, "errors": 1, "replacements": 4}
    summary = summary_of("flat", lm_hash="cb1daf1d0c6f" + 52 * "0", steps=32, losses=losses)
    text = render_report(summary, [], meta={"title": "a run", "language model": "bundled", "seed": 0})
    facts = re.search(r'<dl class="facts">(.*?)</dl>', text).group(1)
    said = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", facts))
    assert len(said) == facts.count("<dt>") == len(set(said.values()))
    assert said["requests sent again"] == "3"
    assert (said["training rollouts"], said["time"]) == ("64", "1 min 01 s")
    assert "flat" not in said.values()


def test_the_transfer_table_shows_its_intervals():
    ends = {"flat": {"flat": (31.0, 47.5), "tunnel": (8.0, 9.5)}, "tunnel": {"flat": (1.0, 2.5), "tunnel": (3.0, 4.5)}}
    summary = summary_of("flat", "tunnel", transfer_interval=ends)
    row = summary.terrains["flat"].model_copy(update={"untuned_interval": (5.0, 15.5)})
    summary = summary.model_copy(update={"terrains": dict.fromkeys(summary.terrains, row)})
    table = re.search(r'<table class="heat".*?</table>', render_report(summary, [])).group(0)
    assert re.findall(r"<small>(.*?)</small>", table) == [
        "5.0 to 15.5", "5.0 to 15.5", "31.0 to 47.5", "8.0 to 9.5", "1.0 to 2.5", "3.0 to 4.5"
    ]  # fmt: skip


def test_walkers_of_a_terrain_are_shown_together_in_the_runs_order():
    shows = [walker_show("tunnel"), walker_show("flat", title="best untuned"), walker_show("flat")]
    text = render_report(summary_of("flat", "tunnel"), [], shows)
    arenas = json.loads(Page(text).scripts[0])["arenas"]
    assert [len(arena) for arena in arenas] == [2, 1]
    assert text.index("best untuned moving") < text.index("best tuned moving")
    assert text.count("<canvas") == 3


def test_a_program_without_a_moving_picture_is_shown_as_text():
    text = render_report(summary_of("reviews"), [], [Show("reviews", "best tuned", 0.9, "a fine film")])
    assert "a fine film" in text
    assert "<canvas" not in text


OVERPRINTED = """[...document.querySelectorAll('#charts svg')].flatMap((svg) => {
    const texts = [...svg.querySelectorAll('text')].map((t) => [t.textContent, t.getBoundingClientRect()]);
    return texts.flatMap(([a, p], i) => texts.slice(i + 1).filter(([b, q]) => p.left < q.right - 1 &&
        q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1).map(([b]) => `${a} and ${b}`));
})"""
CUT = """[...document.querySelectorAll('#charts svg')].flatMap((svg) => { const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter((t) => { const b = t.getBoundingClientRect();
        return b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1; })
    .map((t) => t.textContent); })"""
SMALLEST = """Math.min(...[...document.querySelectorAll('#charts svg')].map((svg) =>
    11.5 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A report of two terrains, one of which means harm."""
    folder, names = tmp_path_factory.mktemp("report"), ["flat", EVIL]
    history = [{"step": 0, "phase": "warm start", "fitness/flat": 10.0, "best/flat": 12.0}]
    history += [
        {**entry, "step": k, "phase": "steps", "failures/syntax": float(k % 3), "failures/name": 1.0}
        for k, entry in enumerate(8 * history_of(*names), 1)
    ]
    history[5]["fitness/flat"] = float("nan")
    history.append({**history[0], "step": 40, "phase": "closing"})
    page = write_report(
        folder / "report.html",
        summary_of(*names),
        history,
        [walker_show(name, EVIL) for name in names],
        {"title": "A run"},
    )
    with Browser(page.as_uri(), folder / "profile") as opened:
        yield opened


@pytest.fixture(params=[1280, 390])
def at_width(browser, request):
    """The report in a window of some width, drawn anew."""
    browser.send(
        "Emulation.setDeviceMetricsOverride", width=request.param, height=900, deviceScaleFactor=1, mobile=False
    )
    browser.wait(f"window.innerWidth === {request.param}")
    browser.wait("document.querySelectorAll('#charts svg').length === 4")
    browser.run("new Promise((done) => setTimeout(done, 200))")
    return browser


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="chromium is not installed")
def test_a_browser_draws_the_page_and_runs_no_injected_script(browser):
    assert browser.errors == []
    assert browser.run("document.title") == "A run"
    assert browser.run("document.scripts.length + document.images.length") == 2
    assert browser.run("document.querySelectorAll('#charts svg').length") == 4
    assert browser.run("[...document.querySelectorAll('output')].every((o) => o.textContent.endsWith('of 0.2 s'))")


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="chromium is not installed")
def test_charts_have_titled_axes_and_no_words_lie_on_others_or_are_cut(at_width):
    assert at_width.run(OVERPRINTED) == []
    assert at_width.run(CUT) == []
    assert at_width.run(SMALLEST) > 11
    titles = at_width.run("[...document.querySelectorAll('#charts .axis')].map((t) => t.textContent)")
    assert len(titles) == 8 and all("(" in title for title in titles)
    phases = at_width.run("[...document.querySelectorAll('#charts .phase')].map((t) => t.textContent)")
    assert phases == 4 * ["warm start", "steps", "closing"]
    # One path, begun anew behind the step that had no number.
    line = at_width.run("document.querySelector('#charts [data-label=flat]').getAttribute('d')")
    assert line.count("M") == 2


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="chromium is not installed")
def test_a_table_that_is_wider_than_the_page_scrolls_and_shows_that_it_does(at_width):
    narrow = at_width.run("window.innerWidth") == 390
    assert at_width.run("document.documentElement.scrollWidth") <= at_width.run("window.innerWidth")
    state = """(() => { const f = document.querySelector('.wide'), s = f.querySelector('.scroll');
        return [s.scrollWidth > s.clientWidth, getComputedStyle(f.querySelector('.hint')).display !== 'none',
                getComputedStyle(f.querySelector('.frame'), '::after').display !== 'none', s.tabIndex === 0]; })()"""
    assert at_width.run(state) == 4 * [narrow]
    if narrow:
        at_width.run("document.querySelector('.scroll').scrollLeft = 9999")
        at_width.wait("!document.querySelector('.wide').classList.contains('more-right')")
        # The names stay in sight beside the last columns.
        left = at_width.run("document.querySelector('.scroll tbody th').getBoundingClientRect().left")
        assert left == at_width.run("document.querySelector('.scroll').getBoundingClientRect().left") + 1
