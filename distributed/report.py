"""One self-contained HTML page a run: before and after, curves, transfer matrix, the best walkers moving.

Programs and terrain names are untrusted text. They reach the page escaped, or as JSON that cannot end its element, and
the page's content security policy runs no script but the one whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from distributed import report_parts as parts
from distributed.report_curves import curves
from distributed.summary import Summary
from terrains.sodarace.replay import player_data

if TYPE_CHECKING:
    from terrains.sodarace.ground import Ground


@dataclass(frozen=True)
class WalkerShow:
    """A program to show, and the walker it made where its world has one.

    Attributes:
        terrain: the terrain it belongs to; walkers of one terrain are shown side by side.
        title: what it is, for example ``best tuned``.
        fitness: its fitness on that terrain.
        program: the program's text.
        frames: (f, n, 2) joint positions in world units, or None for a program that has no moving picture.
        ground: what it walked on; needed with frames.
        muscles: (m, 2) joint indices; needed with frames.
        rigid: (m,) bool, the muscles that do not swing.
        seconds_per_frame: simulated time between two frames.
    """

    terrain: str
    title: str
    fitness: float
    program: str
    frames: np.ndarray | None = None
    ground: Ground | None = None
    muscles: np.ndarray | None = None
    rigid: np.ndarray | None = None
    seconds_per_frame: float = 2 / 60

    @property
    def moving(self) -> bool:
        """Whether there is something to play."""
        return self.frames is not None and self.ground is not None


def write_report(
    path: str | Path,
    summary: Summary,
    history: Sequence[Mapping[str, Any]],
    walkers: Sequence[WalkerShow] = (),
    meta: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the page, whole or not at all.

    Args:
        path: the HTML file to write.
        summary: the run's summary.
        history: one mapping a step: ``step``, ``phase``, and metrics, those of one terrain as ``metric/terrain``.
            What is not a number is left out of the curves.
        walkers: programs to show, best first.
        meta: ``title`` for the heading; the rest is listed under it in its order.

    Returns:
        The path.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    # A program may hold lone surrogates, which no encoding takes: they become character references.
    partial.write_bytes(render_report(summary, history, walkers, meta).encode("utf-8", errors="xmlcharrefreplace"))
    os.replace(partial, path)
    return path


def render_report(
    summary: Summary,
    history: Sequence[Mapping[str, Any]],
    walkers: Sequence[WalkerShow] = (),
    meta: Mapping[str, Any] | None = None,
) -> str:
    """The page that ``write_report`` writes, as text."""
    assets = files("distributed") / "report_assets"
    # The hash covers the script element's whole content, line ends included.
    script = "\n" + (assets / "report.js").read_text(encoding="utf-8").strip() + "\n"
    names = list(summary.terrains)
    arenas = _by_terrain(walkers, names)
    meta = dict(meta or {})
    title = str(meta.pop("title", "What the prompts learnt"))
    data = {"terrains": names, **curves(history, summary), "arenas": [_arena_data(a) for a in arenas.values()]}
    return Template((assets / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        css=(assets / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        facts=parts.facts(summary, meta),
        tiles="".join(parts.tile(i, name, row) for i, (name, row) in enumerate(summary.terrains.items())),
        before_after=parts.before_after(summary),
        transfer=parts.transfer_matrix(summary),
        walkers=parts.walkers_section(arenas, names),
        config=parts.config_section(summary),
        data=embed_json(data),
    )


def embed_json(data: Any) -> str:
    """JSON that is safe inside a script element: without ``<``, ``>`` and ``&`` it can neither end nor open one."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _by_terrain(walkers: Sequence[WalkerShow], names: Sequence[str]) -> dict[str, list[WalkerShow]]:
    """Walkers per terrain, terrains in the run's order and unknown ones last, the order within a terrain as given."""
    arenas: dict[str, list[WalkerShow]] = {name: [] for name in names}
    for walker in walkers:
        arenas.setdefault(walker.terrain, []).append(walker)
    return {terrain: arena for terrain, arena in arenas.items() if arena}


def _arena_data(arena: Sequence[WalkerShow]) -> list[dict[str, Any]]:
    shown = []
    for walker in arena:
        if walker.frames is not None and walker.ground is not None:
            muscles = np.empty((0, 2), dtype=np.int64) if walker.muscles is None else walker.muscles
            shown.append(player_data(walker.frames, muscles, walker.ground, walker.rigid, walker.seconds_per_frame))
    return shown
