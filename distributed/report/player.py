"""The player of moving walkers as HTML: one panel a terrain. Names and programs are escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

from distributed.infra.numbers import fitness_text, measure_text
from distributed.report.shows import Show
from terrains.render.player import player_data

SCRIPT = "player.js"
COLOURS = 8  # how many terrain colours the style sheet has
Layout = Literal["side", "lanes"]

_SPEEDS = {"0.25": "¼×", "0.5": "½×", "1": "1×", "2": "2×", "4": "4×"}
_PLAY = '<button class="play" type="button">Play</button>'
_SCRUB = '<input class="scrub" type="range" min="0" max="1000" step="1" value="0" aria-label="Time">'


def by_terrain(walkers: Sequence[Show], names: Sequence[str]) -> dict[str, list[Show]]:
    """Walkers by terrain: terrains in the order of ``names``, others last; walkers in the order given."""
    arenas: dict[str, list[Show]] = {name: [] for name in names}
    for walker in walkers:
        arenas.setdefault(walker.terrain, []).append(walker)
    return {terrain: arena for terrain, arena in arenas.items() if arena}


def arenas_data(arenas: Mapping[str, Sequence[Show]]) -> list[list[dict[str, Any]]]:
    """The data of each panel's walkers for the player's script."""
    return [_arena_data(arena) for arena in arenas.values()]


def walkers_section(
    arenas: Mapping[str, Sequence[Show]], names: Sequence[str], heading: str, layout: Layout = "side"
) -> str:
    """Returns one panel for each terrain; one without moving walkers shows its programs only.

    Args:
        arenas: walkers by terrain.
        names: terrains that have a colour, in the order of the colours.
        heading: of the section; none if empty.
        layout: which of the two layouts is shown first: walkers side by side, or one above another on one scale.
    """
    if not arenas:
        return ""
    panels = "".join(_panel(k, terrain, arena, names, layout) for k, (terrain, arena) in enumerate(arenas.items()))
    head = f"<h2>{escape(heading)}</h2>" if heading else ""
    return f"<section>{head}{panels}</section>"


def terrain_name(terrain: str) -> str:
    """A terrain's name as HTML, which may wrap after its commas."""
    return escape(terrain).replace(",", ",<wbr>")


def colour(index: int) -> str:
    """The CSS variable that gives an element a terrain's colour."""
    return f"--c:var(--t{index % COLOURS})"


def _arena_data(arena: Sequence[Show]) -> list[dict[str, Any]]:
    return [player_data(walker.scene) for walker in arena if walker.scene is not None]


def _panel(number: int, terrain: str, arena: Sequence[Show], names: Sequence[str], layout: Layout) -> str:
    moving = sum(walker.moving for walker in arena)
    if not moving:
        return _texts(terrain, arena, names)
    head = _heading(terrain, names)
    choice = _choice("layout", "Layout", {"side": "Side by side", "lanes": "Lanes"}, layout) if moving > 1 else ""
    # In lanes the whole track is in view, so that walkers can be compared; else the camera follows each walker.
    near = "whole" if layout == "lanes" and moving > 1 else "follow"
    camera = _choice("follow", "Camera", {"follow": "Follow", "whole": "Whole track"}, near)
    speed = _choice("speed", "Speed", _SPEEDS, "1")
    head += f'<div class="controls"><output aria-label="Time"></output>{choice}{camera}{speed}{_PLAY}</div>'
    mark = f' data-arena="{number}" tabindex="0" aria-label="Walkers on {escape(terrain)}"'
    return (
        f'<article class="arena"{mark}><div class="arena-head">{head}</div>'
        f'<div class="stages">{"".join(map(_stage, arena))}</div>{_SCRUB}'
        f'<div class="stages programs">{"".join(map(_program, arena))}</div></article>'
    )


def _heading(terrain: str, names: Sequence[str]) -> str:
    dot = f'<span class="dot" style="{colour(names.index(terrain))}"></span>' if terrain in names else ""
    return f'<h3 class="named">{dot}<span>{terrain_name(terrain)}</span></h3>'


def _texts(terrain: str, arena: Sequence[Show], names: Sequence[str]) -> str:
    """A table of the texts of one terrain, with their fitness."""
    rows = "".join(
        f"<tr><td>{escape(each.title)}</td><td>{measure_text(each.fitness)}</td>"
        f"<td><pre><code>{escape(each.program)}</code></pre></td></tr>"
        for each in arena
    )
    head = "<thead><tr><th>which</th><th>fitness</th><th>text</th></tr></thead>"
    return (
        f'<article class="arena"><div class="arena-head">{_heading(terrain, names)}</div>'
        f'<div class="scroll"><table class="texts">{head}<tbody>{rows}</tbody></table></div></article>'
    )


def _choice(name: str, label: str, options: Mapping[str, str], chosen: str) -> str:
    listed = "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{text}</option>'
        for value, text in options.items()
    )
    return f'<select class="{name}" aria-label="{label}">{listed}</select>'


def _stage(walker: Show) -> str:
    label = escape(walker.title)
    canvas = f'<canvas role="img" aria-label="{label} moving"></canvas>' if walker.moving else ""
    caption = f"<figcaption><span>{label}</span><b>fitness {fitness_text(walker.fitness)}</b></figcaption>"
    return f'<figure class="stage">{canvas}{caption}</figure>'


def _program(walker: Show) -> str:
    code = f"<pre><code>{escape(walker.program)}</code></pre>"
    return f"<details><summary>Program: {escape(walker.title)}</summary>{code}</details>"
