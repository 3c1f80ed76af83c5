"""Walkers as an animated picture, GIF or APNG: one lane a walker, drawn with Pillow.

Plotting libraries take a tenth of a second for a frame; these lanes need a hundredth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from terrains.sodarace.physics import NODE_RADIUS
from terrains.sodarace.replay import finite_frames

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from terrains.sodarace.ground import Ground

WIDTH, HEIGHT = 720, 220
"""Pixels of a lane."""

_FINE = 2  # Pillow's lines have hard edges: drawn this many times larger, then made smaller, they are soft.
_FAR = 1e4
_SKY, _EARTH, _EDGE, _RULE = "#f3f6fa", "#cfd4da", "#6c757f", "#dde1e6"
_BONE, _MUSCLE, _ROD, _INK, _SOFT = "#23272e", "#d95926", "#6c757f", "#16181d", "#5d636d"
_COLOURS = 48
_SMOOTH = 21  # frames over which the camera is steadied


@dataclass(frozen=True, eq=False)
class Lane:
    """A walker to draw.

    Attributes:
        title: what it is, any text.
        frames: (f, n, 2) joint positions in world units; those from the first that is not finite on are left out.
        muscles: (m, 2) joint indices.
        rigid: (m,) bool, the muscles that are rods.
        ground: what it walks on.
    """

    title: str
    frames: np.ndarray
    muscles: np.ndarray
    rigid: np.ndarray
    ground: Ground


def animate(lanes: Sequence[Lane], path: str | Path, seconds_per_frame: float) -> Path:
    """Draws walkers one above another, each followed by its own camera, all on one scale.

    Args:
        lanes: at least one walker.
        path: the picture to write; the ending ``.gif`` makes a GIF, any other an APNG.
        seconds_per_frame: simulated time between two frames; a GIF's frames last whole hundredths of a second.

    Returns:
        The path.

    Raises:
        ValueError: there is no lane, or one without a finite frame.
    """
    if not lanes:
        raise ValueError("there is no walker to draw")
    from PIL.Image import Dither

    path = Path(path)
    scenes = [_Scene(lane) for lane in lanes]
    scale = min(scene.fitting_scale() for scene in scenes)
    count = max(len(scene.frames) for scene in scenes)
    pictures = [_draw(scenes, k, scale, k * seconds_per_frame) for k in range(count)]
    # One palette for all frames: colours do not flicker, and frames differ only where something moved.
    palette = pictures[count // 2].quantize(_COLOURS)
    frames = [each.quantize(palette=palette, dither=Dither.NONE) for each in pictures]
    kind: dict[str, Any] = {"format": "GIF", "optimize": False} if path.suffix.lower() == ".gif" else {"format": "PNG"}
    duration = 1000 * seconds_per_frame
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0, **kind)
    return path


class _Scene:
    """A lane, and where its camera is at every frame."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.frames = finite_frames(lane.frames)
        self.centre = self.frames.mean(axis=1)
        self.camera = np.stack([_steady(self.centre[:, 0]), _steady(self.frames[..., 1].min(axis=1))], axis=1)
        self.title = "".join(c if c.isprintable() else "?" for c in lane.title)

    def fitting_scale(self) -> float:
        """Pixels a world unit at which the walker fills about half of the lane at its largest."""
        wide, high = np.ptp(self.frames, axis=1).max(axis=0)
        return float(min(WIDTH / max(2.6 * wide, 110.0), HEIGHT / max(1.55 * high + 24.0, 60.0)))


def _steady(values: np.ndarray) -> np.ndarray:
    """A running mean, so that the camera does not jump with every step."""
    padded = np.pad(values, _SMOOTH // 2, mode="edge")
    return np.convolve(padded, np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")


def _draw(scenes: Sequence[_Scene], frame: int, scale: float, seconds: float) -> Image:
    """One frame of the picture; a lane that is shorter than others stands still at its end."""
    # Imported here: scoring programs needs this package but no imaging library.
    from PIL import Image

    picture = Image.new("RGB", (WIDTH, HEIGHT * len(scenes) + 2 * (len(scenes) - 1)), "white")
    for k, scene in enumerate(scenes):
        lane = _draw_lane(scene, min(frame, len(scene.frames) - 1), scale * _FINE, seconds)
        picture.paste(lane.reduce(_FINE), (0, k * (HEIGHT + 2)))
    return picture


def _draw_lane(scene: _Scene, frame: int, scale: float, seconds: float) -> Image:
    from PIL import Image, ImageDraw

    size = np.array([WIDTH, HEIGHT]) * _FINE
    picture = Image.new("RGB", tuple(size.tolist()), _SKY)
    draw = ImageDraw.Draw(picture)
    eye = scene.camera[frame]

    def place(points: np.ndarray) -> list[tuple[float, float]]:
        """World units to pixels, cut off where Pillow's whole numbers end."""
        x = size[0] / 2 + (points[..., 0] - eye[0]) * scale
        y = size[1] - (points[..., 1] - eye[1] + 14.0) * scale
        return list(zip(np.clip(x, -_FAR, _FAR).tolist(), np.clip(y, -_FAR, _FAR).tolist(), strict=True))

    _rule(draw, scene, place, eye[0], size[0] / scale)
    for line, far in ((scene.lane.ground.floor, -_FAR), (scene.lane.ground.ceiling, _FAR)):
        if line is not None:
            ends = np.array([[line[0, 0], far], [line[-1, 0], far]])
            draw.polygon(place(np.vstack([ends[:1], line, ends[1:]])), fill=_EARTH, outline=_EDGE, width=_FINE)
    draw.line(place(scene.centre[: frame + 1]), fill=_SOFT, width=_FINE)
    joints = place(scene.frames[frame])
    for (a, b), rod in zip(scene.lane.muscles.tolist(), scene.lane.rigid.tolist(), strict=True):
        draw.line([joints[a], joints[b]], fill=_ROD if rod else _MUSCLE, width=max(_FINE, round(0.8 * scale)))
    radius = max(NODE_RADIUS * scale, _FINE)
    for x, y in joints:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_BONE)
    _write(draw, scene, frame, seconds, size)
    return picture


def _rule(draw: ImageDraw, scene: _Scene, place: Any, middle: float, width: float) -> None:
    """Vertical lines every 20 units from the start, the start's own line stronger."""
    start = scene.centre[0, 0]
    first, last = (int((middle + side * width / 2 - start) // 20) for side in (-1, 1))
    for tick in range(first, last + 2):
        [(x, _)] = place(np.array([[start + 20.0 * tick, 0.0]]))
        draw.line([(x, 0), (x, HEIGHT * _FINE)], fill=_EDGE if tick == 0 else _RULE, width=_FINE)


def _write(draw: ImageDraw, scene: _Scene, frame: int, seconds: float, size: np.ndarray) -> None:
    """The walker's title at the left, how far it has come at the right."""
    from PIL import ImageFont

    font, edge = ImageFont.load_default(13 * _FINE), 10 * _FINE
    gone = scene.centre[frame, 0] - scene.centre[0, 0]
    said = f"{gone:+.1f} units, {seconds:.1f} s"
    look: dict[str, Any] = {"font": font, "stroke_width": 2 * _FINE, "stroke_fill": _SKY}
    room = int(size[0] - 3 * edge - draw.textlength(said, font))
    title = scene.title
    while len(title) > 1 and draw.textlength(title, font) > room:
        title = title[: -max(2, len(title) // 20)].rstrip("…") + "…"
    draw.text((edge, edge), title, fill=_INK, **look)
    draw.text((size[0] - edge, edge), said, fill=_INK, anchor="ra", **look)
