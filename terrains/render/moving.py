"""Scenes as an animated picture, GIF or APNG: one lane a scene, drawn with Pillow.

Plotting libraries take a tenth of a second for a frame; these lanes need a hundredth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from terrains.scene import Scene

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

WIDTH, HEIGHT = 720, 220
"""Pixels of a lane at its full size."""

MOST_BYTES = 5_000_000
"""A moving picture stays below so many bytes: what shows pictures in pages and messages often takes no more."""

_FINE = 2  # Pillow's lines have hard edges: drawn this many times larger, then made smaller, they are soft.
_FAR = 1e4
_SKY, _EARTH, _EDGE, _RULE = "#f3f6fa", "#cfd4da", "#6c757f", "#dde1e6"
_BONE, _MUSCLE, _ROD, _INK, _SOFT = "#23272e", "#d95926", "#6c757f", "#16181d", "#5d636d"
_EVERY = 20  # units between two lines
_SAMPLE = 5  # frames of a part by which the size is estimated
_SMOOTH = 21  # frames over which the camera is steadied


@dataclass(frozen=True, eq=False)
class Lane:
    """A scene to draw.

    Attributes:
        title: what it is, any text.
        scene: frames from the first that is not finite on are left out.
    """

    title: str
    scene: Scene


class _Look(NamedTuple):
    """How fine a picture is: size of a lane as a share of the full one, every how manieth frame is drawn, colours."""

    size: float
    stride: int
    colours: int


_LOOKS = [
    _Look(1, 1, 48),
    _Look(1, 2, 32),
    _Look(0.75, 2, 32),
    _Look(0.5, 2, 24),
    _Look(0.5, 3, 16),
    *(_Look(0.5, 2**k, 16) for k in range(2, 24)),
]
"""From the finest to a single frame; a picture is as fine as its bytes allow."""


def animate(lanes: Sequence[Lane], path: str | Path, seconds_per_frame: float) -> Path:
    """Draws scenes one above another, each followed by its own camera, all on one scale.

    A picture that would reach `MOST_BYTES` is drawn with fewer frames a second, smaller, and in fewer colours; it takes
    as long as the scenes do all the same.

    Args:
        lanes: at least one.
        path: the picture to write; the ending ``.gif`` makes a GIF, any other an APNG.
        seconds_per_frame: time between two frames; a GIF's frames last whole hundredths of a second.

    Returns:
        The path.

    Raises:
        ValueError: there is no lane, one without a finite frame, or so many that one frame of them is too large.
    """
    if not lanes:
        raise ValueError("there is no scene to draw")
    path = Path(path)
    film = _Film([_Shot(lane) for lane in lanes], seconds_per_frame, path.suffix.lower() == ".gif")
    for look in _LOOKS:
        if film.estimate(look) < MOST_BYTES:
            data = film.encoded(look, range(0, film.count, look.stride))
            if len(data) < MOST_BYTES:
                path.write_bytes(data)
                return path
        if look.stride >= film.count:
            break
    raise ValueError(f"{len(lanes)} scenes are too many for one picture of less than {MOST_BYTES:,} bytes")


class _Film:
    """All lanes, to be drawn at any fineness."""

    def __init__(self, shots: Sequence[_Shot], seconds_per_frame: float, gif: bool) -> None:
        self.shots, self.seconds_per_frame = shots, seconds_per_frame
        self.scale = min(shot.fitting_scale() for shot in shots)
        self.count = max(len(shot.frames) for shot in shots)
        self.kind: dict[str, Any] = {"format": "GIF", "optimize": False} if gif else {"format": "PNG"}

    def estimate(self, look: _Look) -> float:
        """About how many bytes a picture has, from a few frames at its beginning, in its middle and at its end."""
        frames = range(0, self.count, look.stride)
        if len(frames) <= 3 * _SAMPLE:
            return 0.0
        parts = [frames[k : k + _SAMPLE] for k in (0, len(frames) // 2, len(frames) - _SAMPLE)]
        alone = len(self.encoded(look, parts[0][:1]))
        later = [(len(self.encoded(look, part)) - alone) / (_SAMPLE - 1) for part in parts]
        return alone + sum(later) / len(later) * (len(frames) - 1)

    def encoded(self, look: _Look, frames: range) -> bytes:
        """The picture with some of the frames."""
        from PIL.Image import Dither

        # One palette for all frames: colours do not flicker, and frames differ only where something moved.
        palette = _palette(look.colours)
        pictures = (self.drawn(look, k).quantize(palette=palette, dither=Dither.NONE) for k in frames)
        first = next(pictures)
        lasting = [1000 * self.seconds_per_frame * min(look.stride, self.count - k) for k in frames]
        data = BytesIO()
        duration: Any = lasting if len(lasting) > 1 else lasting[0]
        # Pillow goes through a PNG's pictures twice.
        rest = pictures if self.kind["format"] == "GIF" else list(pictures)
        first.save(data, save_all=True, append_images=rest, duration=duration, loop=0, **self.kind)
        return data.getvalue()

    def drawn(self, look: _Look, frame: int) -> Image:
        """One frame of the picture; a lane that is shorter than others stands still at its end."""
        # Imported here: scoring programs needs this package but no imaging library.
        from PIL import Image

        width, height = round(WIDTH * look.size), round(HEIGHT * look.size)
        picture = Image.new("RGB", (width, height * len(self.shots) + 2 * (len(self.shots) - 1)), "white")
        for k, shot in enumerate(self.shots):
            moment, seconds = min(frame, len(shot.frames) - 1), frame * self.seconds_per_frame
            lane = _draw_lane(shot, moment, self.scale * look.size * _FINE, seconds, (width * _FINE, height * _FINE))
            picture.paste(lane.reduce(_FINE), (0, k * (height + 2)))
        return picture


def _palette(colours: int) -> Image:
    """The colours that are drawn with, and as many between them and the sky as there is room for."""
    from PIL import Image, ImageColor

    plain = np.array([ImageColor.getrgb(c) for c in ("white", _SKY, _EARTH, _RULE, _EDGE, _SOFT, _BONE, _MUSCLE)])
    levels = (colours - len(plain)) // 4
    shares = np.arange(1, levels + 1)[:, None, None] / (levels + 1)
    between = (1 - shares) * plain[1] + shares * plain[4:]
    picture = Image.new("P", (1, 1))
    picture.putpalette(np.concatenate([plain, between.reshape(-1, 3).round()]).astype(np.uint8).tobytes())
    return picture


class _Shot:
    """A lane, and where its camera is at every frame."""

    def __init__(self, lane: Lane) -> None:
        self.scene = lane.scene
        self.frames = lane.scene.finite_points()
        self.centre = self.frames.mean(axis=1)
        self.camera = np.stack([_steady(self.centre[:, 0]), _steady(self.frames[..., 1].min(axis=1))], axis=1)
        self.title = "".join(c if c.isprintable() else "?" for c in lane.title)

    def fitting_scale(self) -> float:
        """Pixels a world unit at which the points fill about half of the lane at its largest."""
        wide, high = np.ptp(self.frames, axis=1).max(axis=0)
        return float(min(WIDTH / max(2.6 * wide, 110.0), HEIGHT / max(1.55 * high + 24.0, 60.0)))


def _steady(values: np.ndarray) -> np.ndarray:
    """A running mean, so that the camera does not jump with every step."""
    padded = np.pad(values, _SMOOTH // 2, mode="edge")
    return np.convolve(padded, np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")


def _draw_lane(shot: _Shot, frame: int, scale: float, seconds: float, size: tuple[int, int]) -> Image:
    """A lane of the shot at a frame, at a scale in pixels a world unit."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", size, _SKY)
    draw = ImageDraw.Draw(picture)
    eye = shot.camera[frame]

    def place(points: np.ndarray) -> list[tuple[float, float]]:
        """World units to pixels, cut off where Pillow's whole numbers end."""
        x = size[0] / 2 + (points[..., 0] - eye[0]) * scale
        y = size[1] - (points[..., 1] - eye[1] + 14.0) * scale
        return list(zip(np.clip(x, -_FAR, _FAR).tolist(), np.clip(y, -_FAR, _FAR).tolist(), strict=True))

    _rule(draw, shot, place, eye[0], size[0] / scale)
    for line, far in ((shot.scene.floor, -_FAR), (shot.scene.ceiling, _FAR)):
        if line is not None:
            ends = np.array([[line[0, 0], far], [line[-1, 0], far]])
            draw.polygon(place(np.vstack([ends[:1], line, ends[1:]])), fill=_EARTH, outline=_EDGE, width=_FINE)
    draw.line(place(shot.centre[: frame + 1]), fill=_SOFT, width=_FINE)
    joints = place(shot.frames[frame])
    for (a, b), rod in zip(shot.scene.pairs.tolist(), shot.scene.is_rod.tolist(), strict=True):
        draw.line([joints[a], joints[b]], fill=_ROD if rod else _MUSCLE, width=max(_FINE, round(0.8 * scale)))
    radius = max(shot.scene.radius * scale, _FINE)
    for x, y in joints:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_BONE)
    _write(draw, shot, frame, seconds, size)
    return picture


def _rule(draw: ImageDraw, shot: _Shot, place: Any, middle: float, width: float) -> None:
    """Vertical lines every `_EVERY` units from the start, the start's own line stronger."""
    start = shot.centre[0, 0]
    first, last = (int((middle + side * width / 2 - start) // _EVERY) for side in (-1, 1))
    for tick in range(first, last + 2):
        [(x, _)] = place(np.array([[start + _EVERY * tick, 0.0]]))
        draw.line([(x, 0), (x, _FAR)], fill=_EDGE if tick == 0 else _RULE, width=_FINE)


def _write(draw: ImageDraw, shot: _Shot, frame: int, seconds: float, size: tuple[int, int]) -> None:
    """The title at the left, how far it has come and what the lines measure at the right."""
    from PIL import ImageFont

    font, edge = ImageFont.load_default(13 * _FINE), 10 * _FINE
    gone = shot.centre[frame, 0] - shot.centre[0, 0]
    said = f"{gone:+.1f} units, {seconds:.1f} s"
    look: dict[str, Any] = {"font": font, "stroke_width": 2 * _FINE, "stroke_fill": _SKY}
    room = int(size[0] - 3 * edge - draw.textlength(said, font))
    title = shot.title
    while len(title) > 1 and draw.textlength(title, font) > room:
        title = title[: -max(2, len(title) // _EVERY)].rstrip("…") + "…"
    draw.text((edge, edge), title, fill=_INK, **look)
    draw.text((size[0] - edge, edge), said, fill=_INK, anchor="ra", **look)
    small: dict[str, Any] = look | {"font": ImageFont.load_default(11 * _FINE)}
    place = (size[0] - edge, edge + 18 * _FINE)
    draw.text(place, f"a line every {_EVERY} world units", fill=_SOFT, anchor="ra", **small)
