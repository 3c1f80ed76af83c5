"""The picture that a run leaves: its best walkers, or different ones where it is after many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rich.console import Console

from distributed.jobs.finish import PICTURE, SECONDS_PER_FRAME
from distributed.jobs.finish import finish as finish_run
from distributed.report.figures import draw_run
from distributed.report.shows import shown
from distributed.results.best_programs import best_found
from terrains.scene import Scene
from tests.distributed.tiny_runs import config, finish, loop_of
from tests.distributed.tiny_workers import LetterWorld


class SeenLetterWorld(LetterWorld):
    """Shows a program as a stick as wide as it has letters a, and as tall as it has letters e."""

    def scene(self, terrain: str, program: str, seconds_per_frame: float) -> Scene:
        """A stick that stands still."""
        ends = np.array([[0.0, 0.0], [1.0 + program.count("a"), 1.0 + program.count("e")]])
        return Scene(np.repeat(ends[None], 3, axis=0), np.array([[0, 1]]))


def picture(folder, tiny_lm, **settings):
    torch.set_num_threads(1)
    folder.mkdir()
    loop = finish(loop_of(config(**settings), tiny_lm[0]))
    finish_run(loop, tiny_lm[0], SeenLetterWorld(), folder, Console(quiet=True))
    return loop, (folder / PICTURE).read_bytes()


def plain(loop, path):
    world = SeenLetterWorld()
    found = best_found(loop.terrains, loop.untuned, loop.tuned)
    return draw_run([shown(world, each, SECONDS_PER_FRAME) for each in found], path).read_bytes()


def test_a_run_with_one_prompt_a_terrain_shows_its_best_and_median_walkers(tmp_path, tiny_lm):
    loop, drawn = picture(tmp_path / "one", tiny_lm)
    assert drawn == plain(loop, tmp_path / "plain.png")


@pytest.mark.parametrize("settings", [{"method__prompts_per_terrain": 2}, {"method__repeat_discount": 1.0}])
def test_a_run_that_is_after_many_shows_different_ones(tmp_path, tiny_lm, settings):
    loop, drawn = picture(tmp_path / "many", tiny_lm, **settings)
    assert drawn.startswith(b"\x89PNG") and drawn != plain(loop, tmp_path / "plain.png")
    for name in loop.terrains:
        evaluated = loop.tuned[name]
        n = len(evaluated["programs"])
        assert evaluated["identity"].shape == (n,) and evaluated["descriptors"].shape == (n, 2)
        counts = [text.removeprefix("import math\n").count("a") for text in evaluated["programs"]]
        assert evaluated["descriptors"][:, 0].tolist() == counts
