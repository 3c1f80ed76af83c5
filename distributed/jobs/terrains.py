"""``terraprompt terrains``: the families and their parameters, terrains drawn, and terrains sampled."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distributed.errors import UserError, did_you_mean
from distributed.infra.writing import WriteError, whole_file
from terrains.sodarace.ground.families import FAMILIES, parameters_of
from terrains.sodarace.ground.geometry import PLACES, Ground
from terrains.sodarace.ground.names import canonical_name, make_ground
from terrains.sodarace.ground.sampler import DRAWN_FAMILIES, EASY_TO_HARD, SPLITS, sample_terrains
from terrains.sodarace.render.ground import draw_grounds, text_sketch
from terrains.sodarace.world import SodaraceWorld

PICTURES = (".png", ".svg", ".pdf")
MOST_DRAWN = 64
"""Most terrains in one picture."""

FILE_HELP = (
    "A floor, and a ceiling where there is one, from a CSV file (lines x,floor or x,floor,ceiling) or an npz file "
    "(arrays floor and ceiling of points); the terrain is what the file holds, wherever it lies."
)


def families_as_json() -> str:
    """Returns families and parameters as JSON: what they mean, their bounds, and from easy to hard."""
    families = [
        {
            "family": family,
            "meaning": _meaning(family),
            "parameters": [
                {
                    "name": p.name,
                    "default": p.default,
                    "least": p.least,
                    "greatest": p.greatest,
                    "meaning": p.meaning,
                    "easy_to_hard": EASY_TO_HARD[family].get(p.name),
                }
                for p in parameters_of(family).values()
            ],
        }
        for family in FAMILIES
    ]
    of_file = {"name": "path", "default": None, "meaning": "the file, in quotes where it holds commas or brackets"}
    families.append({"family": "file", "meaning": FILE_HELP, "parameters": [of_file]})
    return json.dumps(families, indent=2)


def print_families(console: Console) -> None:
    """Prints families and, in a table below each, its parameters."""
    for family in FAMILIES:
        console.print(Text.assemble((family, "bold"), "  ", _meaning(family)))
        if parameters_of(family):
            console.print(_parameter_table(family))
    console.print(Text.assemble(("file(path=...)", "bold"), "  ", FILE_HELP))
    console.print(
        "\nLengths are world units; a walker is some 30 to 70 units wide. Names are hills, hills(amplitude=20,seed=3) "
        "or, for several on top of each other, tunnel+bumpy(seed=3). `terraprompt terrains sample` draws from easy to "
        "hard.",
        highlight=False,
        markup=False,
    )


def _parameter_table(family: str) -> Table:
    """Parameters, defaults, bounds, what they are from easy to hard, and what they mean."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    for width in (12, 11, 12, 18):
        table.add_column(width=width, no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    for p in parameters_of(family).values():
        ends = EASY_TO_HARD[family].get(p.name)
        drawn = f"easy {ends[0]:g}, hard {ends[1]:g}" if ends else ""
        bounds = "0 and above" if p.name == "seed" else f"{p.least:g} to {p.greatest:g}"
        table.add_row(f"  {p.name}", f"default {p.default:g}", bounds, drawn, p.meaning)
    return table


def show_terrains(names: Sequence[str], out: Path | None, console: Console) -> None:
    """Prints what terrains are, and draws them.

    Args:
        names: the terrains.
        out: picture to write; None draws on the console.
        console: where to print.

    Raises:
        UserError: a name is misspelt, a file is not there or no ground, or the picture cannot be written.
    """
    if out is not None:
        _check_picture(names, out)
    with SodaraceWorld() as world:
        for name in dict.fromkeys(names):
            try:
                terrain, ground = world.terrain(name), world.ground(name)
            except ValueError as error:
                raise UserError(str(error)) from None
            lines = [
                f"{terrain.name}",
                f"  fingerprint {terrain.fingerprint}",
                f"  features    {len(terrain.features)}: heights, clearance and slopes at {len(PLACES)} places each",
                f"  points      {len(ground.floor)} of the floor"
                + ("" if ground.ceiling is None else f", {len(ground.ceiling)} of the ceiling"),
            ]
            if out is None:
                lines += [text_sketch(ground, min(console.width, 120)), ""]
            console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        write_picture(names, out)
        console.print(f"wrote {out}", markup=False, highlight=False, soft_wrap=True)


def sample_names(families: Sequence[str], count: int, difficulty: str, split: str, seed: int) -> list[str]:
    """Draws names of terrains.

    Args:
        families: names that take turns; for none, all that have something to draw.
        count: how many.
        difficulty: a number from 0 to 1, or two as ``0.1-0.6``.
        split: ``train`` or ``held_out``.
        seed: decides every draw.

    Raises:
        UserError: one of these is none that makes sense.
    """
    number = r"\s*(\d*\.?\d+(?:e-?\d+)?)\s*"
    match = re.fullmatch(rf"{number}(?:[-,:]{number})?", difficulty)
    if not match:
        raise UserError(f"--difficulty: {difficulty!r} is neither a number from 0 to 1 nor two, such as 0.1-0.6")
    if split not in SPLITS:
        raise UserError(f"--split: there is no split {split!r}{did_you_mean(split, SPLITS)}; {' or '.join(SPLITS)}")
    low = float(match[1])
    ends = low, float(match[2]) if match[2] else low
    try:
        return sample_terrains(list(families) or DRAWN_FAMILIES, count, ends, split, seed)
    except ValueError as error:
        raise UserError(str(error)) from None


def write_picture(names: Sequence[str], out: Path) -> None:
    """Draws terrains one under another into a file.

    Raises:
        UserError: a name is misspelt, or the picture cannot be written.
    """
    _check_picture(names, out)
    try:
        grounds: dict[str, Ground] = {canonical_name(name): make_ground(name) for name in names}
        with whole_file(out) as draft:
            draw_grounds(grounds, draft)
    except ValueError as error:
        raise UserError(str(error)) from None
    except WriteError as error:
        raise UserError(f"--out: {error}") from None


def _check_picture(names: Sequence[str], out: Path) -> None:
    if out.suffix.lower() not in PICTURES:
        raise UserError(f"--out: {str(out)!r} is no picture; its ending has to be one of {', '.join(PICTURES)}")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out: there is no directory {str(out.parent)!r}")
    if len(names) > MOST_DRAWN:
        raise UserError(f"--out: {len(names)} terrains are too many for one picture; the most is {MOST_DRAWN}")


def _meaning(family: str) -> str:
    return (FAMILIES[family].__doc__ or "").strip()
