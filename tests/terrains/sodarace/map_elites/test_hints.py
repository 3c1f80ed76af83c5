"""Invariants of the hints of Stage 2."""

from dataclasses import replace

import numpy as np
import pytest

from terrains.sodarace.map_elites.corpus import CorpusProgram
from terrains.sodarace.map_elites.hints import HINTS, hints_of


def program(number: int, parents: tuple[int, ...] = (), **descriptors: float) -> CorpusProgram:
    walker = {"height": float(number), "width": 2.0, "mass": 7.0} | descriptors
    return CorpusProgram(f"p{number}", "truss", {"flat": 1.0}, id=number, parents=parents, descriptors=walker)


FAMILY = [program(1), program(2, (1,)), program(3, (1,)), program(4, (3,)), program(5), program(6, (77,))]


def test_a_relative_is_a_parent_a_child_or_a_sibling():
    seen = [set() for _ in FAMILY]
    for seed in range(60):
        for found, hint in zip(seen, hints_of("relative", FAMILY, seed), strict=True):
            found.add(hint)
    assert seen[:4] == [{"p2", "p3"}, {"p1", "p3"}, {"p1", "p2", "p4"}, {"p3"}]


def test_a_program_without_relatives_gets_any_other():
    seen = {hints_of("relative", FAMILY, seed)[4] for seed in range(100)}
    assert seen == {"p1", "p2", "p3", "p4", "p6"}


def test_the_neighbour_is_the_nearest_other_text_in_units_of_the_spread():
    rng = np.random.default_rng(0)
    walkers = [
        program(k, height=float(h), width=float(w), mass=float(m))
        for k, (h, w, m) in enumerate(rng.random((40, 3)) * [1, 20, 300])
    ]
    points = np.array([list(p.descriptors.values()) for p in walkers])
    points /= points.std(0)
    apart = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(40)
    assert hints_of("neighbour", walkers) == [f"p{k}" for k in apart.argmin(1)]


def test_walkers_alike_in_all_are_neighbours_and_no_text_is_its_own():
    alike = [program(k, height=1.0) for k in range(9)] + [replace(program(0, height=1.0), id=99)]
    hints = hints_of("neighbour", alike)
    assert all(hint != p.program for hint, p in zip(hints, alike, strict=True)) and hints[0] == hints[9]


def test_descriptors_are_told_in_words():
    assert hints_of("descriptors", [program(3, height=3.24, mass=21.04), program(1)])[0] == "height 3.2 width 2 mass 21"


@pytest.mark.parametrize("kind", HINTS)
def test_the_same_seed_gives_the_same_hints_all_from_the_programs_given(kind):
    hints = hints_of(kind, FAMILY, 3)
    assert hints == hints_of(kind, FAMILY, 3) and len(hints) == len(FAMILY)
    if kind != "descriptors":
        assert set(hints) <= {p.program for p in FAMILY}


@pytest.mark.parametrize("kind, lacking", [("relative", "who came from whom"), ("neighbour", "height")])
def test_a_corpus_that_lacks_what_hints_are_made_of_is_refused(kind, lacking):
    old = [CorpusProgram(f"p{k}", "truss", {"flat": 1.0}) for k in range(4)]
    with pytest.raises(ValueError, match=lacking):
        hints_of(kind, old)


def test_a_single_program_has_no_hint():
    with pytest.raises(ValueError, match="needs another program"):
        hints_of("relative", FAMILY[:1])
