"""Grounds from files: a CSV table or the arrays of an npz file become a floor and, where there is one, a ceiling.

A CSV file has a line ``x,floor`` or ``x,floor,ceiling`` for each point, from left to right, below a heading or without
one; two lines with one x are a vertical wall. Where the ceiling is left empty the sky is open. An npz file holds
``floor``, shape (n, 2), and may hold ``ceiling``, shape (m, 2). All numbers are world units, and the walker starts in
the middle of x = 0. Beyond its ends the floor goes on level to the ends of the world.
"""

from __future__ import annotations

import csv
import math
import zipfile
from pathlib import Path

import numpy as np

from terrains.loading import expanded
from terrains.sodarace.ground.geometry import END, SKY, WALL_HEIGHT, Ground, limits, polyline

MOST_POINTS = 10_000
MOST_BYTES = 5_000_000
_DECIMALS = 3  # finer details are no ground to walk on, and a segment without length would be none to compute with


def read_ground(path: Path) -> Ground:
    """Reads a ground.

    Args:
        path: a file that ends in .csv or .npz.

    Raises:
        ValueError: it cannot be read or holds no ground; the message is one line.
    """
    path = expanded(path)
    readers = {".csv": _read_csv, ".npz": _read_npz}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"file: {str(path)!r} is neither .csv nor .npz")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
        floor, ceiling = reader(path)
        return _ground(floor, ceiling)
    except FileNotFoundError:
        raise ValueError(f"file: there is no {str(path)!r}") from None
    except OSError as error:
        raise ValueError(f"file: cannot read {str(path)!r}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"file: {str(path)!r} is not text in UTF-8") from None
    except ValueError as error:
        raise ValueError(f"file: {str(path)!r}: {error}") from None


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            lines = [(n, [cell.strip() for cell in row]) for n, row in enumerate(csv.reader(file), 1)]
        except csv.Error as error:
            raise ValueError(f"it is no table: {error}") from None
    lines = [(n, row) for n, row in lines if any(row)]
    if lines and not _is_number(lines[0][1][0]):
        lines = lines[1:]
    points = np.array([_numbers(n, row) for n, row in lines]).reshape(-1, 3)
    roofed = np.isfinite(points[:, 2])
    return points[:, :2], _over(points[:, 0], points[:, 2]) if roofed.any() else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(n: int, row: list[str]) -> tuple[float, float, float]:
    """x, floor and ceiling of a line; NaN for an open sky."""
    row = row if len(row) > 2 else [*row, ""]
    if len(row) != 3 or not all(_is_number(cell) for cell in row[:2]) or not (row[2] == "" or _is_number(row[2])):
        raise ValueError(f"line {n} is not x,floor or x,floor,ceiling: {','.join(row)[:40]!r}")
    x, floor, ceiling = (float(cell or "nan") for cell in row)
    if not (math.isfinite(x) and math.isfinite(floor)) or (row[2] and not math.isfinite(ceiling)):
        raise ValueError(f"line {n} holds a number that is not finite")
    return x, floor, ceiling


def _over(x: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """A ceiling of these heights, the sky being open between and beyond those that are numbers."""
    points: list[tuple[float, float]] = []
    closed = np.concatenate([[False], np.isfinite(heights), [False]])
    starts, ends = np.flatnonzero(~closed[:-1] & closed[1:]), np.flatnonzero(closed[:-1] & ~closed[1:])
    for start, end in zip(starts, ends, strict=True):
        if x[end - 1] <= x[start]:
            raise ValueError(f"the ceiling at x = {x[start]:g} has no width")
        inner = list(zip(x[start:end].tolist(), heights[start:end].tolist(), strict=True))
        points += [(float(x[start]), SKY), *inner, (float(x[end - 1]), SKY)]
    return np.array(points)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            unknown = set(arrays) - {"floor", "ceiling"}
            if "floor" not in arrays or unknown:
                raise ValueError(f"it has to hold floor, and may hold ceiling; it holds {', '.join(sorted(arrays))}")
            floor = _points(arrays["floor"], "floor")
            return floor, _points(arrays["ceiling"], "ceiling") if "ceiling" in arrays else None
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        raise ValueError("it is no npz file") from None


def _points(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim != 2 or array.shape[1] != 2 or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ValueError(f"{what} has shape {array.shape} and type {array.dtype}, and has to be numbers (n, 2)")
    return array.astype(np.float64)


def _ground(floor: np.ndarray, ceiling: np.ndarray | None) -> Ground:
    floor = _checked(floor, "floor", WALL_HEIGHT)
    ends = [(-END, WALL_HEIGHT), (-END, floor[0, 1])], [(END, floor[-1, 1]), (END, WALL_HEIGHT)]
    whole = polyline([*ends[0], *map(tuple, floor.tolist()), *ends[1]])
    if ceiling is None:
        return Ground(whole)
    ceiling = _checked(ceiling, "ceiling", SKY)
    (first, _), (last, _) = ceiling[0], ceiling[-1]
    roof = polyline([(first, SKY), *map(tuple, ceiling.tolist()), (last, SKY)])
    x = np.unique(np.concatenate([roof[:, 0], whole[(whole[:, 0] > first) & (whole[:, 0] < last), 0]]))
    for tops, heights in zip(limits(roof, x), limits(whole, x), strict=True):
        if (tops <= heights).any():
            raise ValueError(f"the ceiling at x = {x[np.argmax(tops <= heights)]:g} is not above the floor")
    return Ground(whole, roof)


def _checked(line: np.ndarray, what: str, highest: float) -> np.ndarray:
    """A polyline, rounded, that runs from left to right inside the world; between walls of one x only the ends count.

    Raises:
        ValueError: it does not.
    """
    if not 2 <= len(line) <= MOST_POINTS:
        raise ValueError(f"the {what} has {len(line)} points, and has to have 2 to {MOST_POINTS:,}")
    if not np.isfinite(line).all():
        raise ValueError(f"the {what} holds a number that is not finite")
    line = np.round(line, _DECIMALS) + 0.0
    back = np.flatnonzero(np.diff(line[:, 0]) < 0)
    if len(back):
        raise ValueError(f"x of the {what} goes back from {line[back[0], 0]:g} to {line[back[0] + 1, 0]:g}")
    if np.abs(line[:, 0]).max() > END or np.abs(line[:, 1]).max() > highest:
        raise ValueError(f"the {what} leaves the world: x goes from {-END:g} to {END:g}, heights to {highest:g}")
    if line[0, 0] == line[-1, 0]:
        raise ValueError(f"the {what} has no width")
    first, last = np.searchsorted(line[:, 0], line[:, 0], "left"), np.searchsorted(line[:, 0], line[:, 0], "right") - 1
    index = np.arange(len(line))
    return line[(index == first) | (index == last)]
