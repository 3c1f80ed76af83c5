"""The player in a real browser: it plays, pauses, goes to any moment, and runs no text it was given."""

from __future__ import annotations

import pytest

from terrains.sodarace.programs.seeds import SEEDS
from tests.browser import Browser, chromium
from tests.distributed.finished_runs import main_exit
from tests.distributed.pages import EVIL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="there is no chromium to look at the page with"),
]
CLOCK = "parseFloat(document.querySelector('output').textContent)"
PLAY = "document.querySelector('.play').textContent"
# What a canvas shows, as a number that hardly two pictures share.
PAINTED = """[...document.querySelectorAll('canvas')].map((c) => [...c.getContext('2d').getImageData(0, 0, c.width,
    c.height).data].reduce((sum, value, k) => (sum * 31 + value) % 1000003, 0))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A page with two walkers on one terrain."""
    folder = tmp_path_factory.mktemp("player")
    files = [folder / "wheel.py", folder / (EVIL.replace("/", "\u2215") + ".py")]
    for file, name in zip(files, ("wheel", "square"), strict=True):
        file.write_text(f"{SEEDS[name]}# {EVIL}\n")
    page = folder / "replay.html"
    assert main_exit("replay", *map(str, files), "--terrain", "bumpy", "--out", str(page), "--seconds", "6") == 0
    with Browser(page.as_uri(), folder / "profile") as opened:
        yield opened


@pytest.fixture
def paused(browser):
    """The same page, at its beginning and paused."""
    if browser.run(PLAY) == "Pause":
        browser.click(".play")
    browser.run("document.querySelector('[data-arena]').focus()")
    browser.press("Home")
    assert browser.run(CLOCK) == 0
    return browser


def test_the_page_runs_without_an_error_and_asks_for_nothing_but_itself(browser):
    assert browser.errors == []
    assert len(browser.requests) == 1 and browser.requests[0].startswith("file://")
    assert browser.run("document.title") != "owned"
    assert browser.run("document.images.length + document.scripts.length") == 2


def test_play_moves_the_walkers_and_pause_stops_them(paused):
    first = paused.run(PAINTED)
    paused.click(".play")
    assert paused.run(PLAY) == "Pause"
    paused.wait(f"{CLOCK} > 0.3")
    paused.click(".play")
    assert paused.run(PLAY) == "Play"
    time, painted = paused.run(CLOCK), paused.run(PAINTED)
    assert all(a != b for a, b in zip(first, painted, strict=True))
    paused.run("new Promise((done) => setTimeout(done, 300))")
    assert (paused.run(CLOCK), paused.run(PAINTED)) == (time, painted)


def test_the_scrub_goes_to_the_moment_under_the_pointer_and_back(paused):
    first = paused.run(PAINTED)
    paused.click(".scrub", 0.5)
    assert paused.run(CLOCK) == pytest.approx(3.0, abs=0.3)
    assert paused.run(PLAY) == "Play"
    assert paused.run("document.querySelector('.scrub').getAttribute('aria-valuetext')").endswith("of 6.0 s")
    assert paused.run(PAINTED) != first
    paused.press("Home")
    assert paused.run(PAINTED) == first


def test_keys_play_pause_and_step(paused):
    paused.press(" ", " ")
    paused.wait(f"{CLOCK} > 0.2")
    paused.press(" ", " ")
    assert paused.run(PLAY) == "Play"
    paused.press("Home")
    paused.press("ArrowRight")
    paused.press("ArrowRight")
    assert paused.run(CLOCK) == 1.0
    paused.press("ArrowLeft")
    assert paused.run(CLOCK) == 0.5
    paused.press("ArrowLeft")
    paused.press("ArrowLeft")
    assert paused.run(CLOCK) == 0
    paused.press("End")
    assert paused.run(CLOCK) == paused.run(
        "Math.max(...JSON.parse(data.textContent).arenas[0].map((w) => w.dt * (w.frames.length - 1))).toFixed(1) * 1"
    )
    paused.press("ArrowUp")
    assert paused.run("document.querySelector('.speed').value") == "2"
    paused.press("ArrowDown")
    assert paused.run("document.querySelector('.speed').value") == "1"


def test_a_key_on_a_control_does_what_the_control_does(paused):
    paused.run("document.querySelector('.play').focus()")
    paused.press(" ", " ")
    assert paused.run(PLAY) == "Pause"
    paused.press(" ", " ")
    assert paused.run(PLAY) == "Play"


def test_lanes_stand_one_above_another_on_one_scale(paused):
    boxes = (
        """[...document.querySelectorAll('canvas')].map((c) => c.getBoundingClientRect()).map((b) => [b.left, b.top])"""
    )
    assert paused.run("document.querySelector('.layout').value") == "lanes"
    (left, top), (other_left, other_top) = paused.run(boxes)
    assert left == other_left and top < other_top
    choose = (
        "(() => {{ const s = document.querySelector('.layout'); s.value = '{}';"
        " s.dispatchEvent(new Event('change')); }})()"
    )
    paused.run(choose.format("side"))
    (left, top), (other_left, other_top) = paused.run(boxes)
    assert left < other_left and top == other_top
    paused.run(choose.format("lanes"))


def test_everything_a_person_works_with_has_a_name(browser):
    unnamed = """[...document.querySelectorAll('button, select, input, canvas, [tabindex]')]
        .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML)"""
    assert browser.run(unnamed) == []
