"""Names of terrains."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrains.sodarace.ground.families import FAMILIES, parameters_of
from terrains.sodarace.ground.names import Part, canonical_name, make_ground, parse_name


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("flat", "flat"),
        ("  bumpy ( seed = 3 , amplitude=4 ) ", "bumpy(amplitude=4,seed=3)"),
        ("bumpy(amplitude=12.0, seed=0)", "bumpy"),
        ("left_wall()", "left_wall"),
        ("tunnel(height=17.5)", "tunnel(height=17.5)"),
        ("bumpy(seed=2000000001)", "bumpy(seed=2000000001)"),
        (" tunnel ( height=30 ) + bumpy( seed=3,amplitude = 6)", "tunnel(height=30)+bumpy(amplitude=6,seed=3)"),
        ("slope+hills(seed=0)+gap", "slope+hills+gap"),
    ],
)
def test_canonical_name_names_the_same_terrain(said, canonical):
    name = canonical_name(said)
    assert name == canonical
    assert canonical_name(name) == name
    assert make_ground(name).fingerprint() == make_ground(said).fingerprint()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bumpyy", "did you mean 'bumpy'"),
        ("left wall", "is not a terrain"),
        ("tunel(height=20)", "did you mean 'tunnel'"),
        ("tunnel(heigth=20)", "did you mean 'height'"),
        ("flat(height=20)", "flat has no parameter 'height'"),
        ("zzz", "there are flat, left_wall"),
        ("tunnel(height=1)", "out of range, 5 to 300"),
        ("tunnel(height=nan)", "out of range"),
        ("tunnel(height=)", "is not a number"),
        ("bumpy(seed=1.5)", "is not a whole number"),
        ("", "is not a terrain"),
        ("tunnel+", "is not a terrain"),
        ("tunnel++bumpy", "is not a terrain"),
        ("tunnel(height=20)bumpy", "is not a terrain"),
        ("tunnel+bumpyy", "did you mean 'bumpy'"),
        ("tunnel+bumpy(sead=2)", "did you mean 'seed'"),
        ("bumpy(seed=1,seed=2)", "seed is there twice"),
        ("slope(angle=36)", "out of range, -35 to 35"),
        ("file", "say where it is"),
        ("file(paht=a.csv)", "did you mean 'path'"),
        ("file(path=a,b.csv)", "no parameter 'b.csv'"),
        ('file(path="a)', "is not a terrain"),
    ],
)
def test_misspelt_name_is_refused_and_the_nearest_one_named(name, message):
    with pytest.raises(ValueError, match=message):
        parse_name(name)


@st.composite
def any_name(draw):
    """One to three parts, at most one of them with a ceiling or a wall at the start, any parameters."""
    first = draw(st.sampled_from(sorted(FAMILIES)))
    others = draw(st.lists(st.sampled_from(["bumpy", "hills", "stairs", "gap", "slope"]), max_size=2))
    parts = []
    for family in [first, *others]:
        chosen = {}
        for known in parameters_of(family).values():
            if draw(st.booleans()):
                low, high = max(known.least, known.default / 2), known.greatest
                chosen[known.name] = draw(st.integers(0, 9999) if known.whole else st.floats(low, high))
        parts.append(Part(family, chosen))
    return draw(st.sampled_from(["+", " + "])).join(map(str, parts))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(any_name())
def test_the_canonical_name_of_any_terrain_makes_the_same_ground(name):
    canonical = canonical_name(name)
    assert canonical_name(canonical) == canonical and " " not in canonical
    assert make_ground(canonical).fingerprint() == make_ground(name).fingerprint()


@given(st.text(min_size=1).filter(lambda path: path == path.strip()))
def test_any_path_survives_its_name(path):
    [part] = parse_name(str(Part("file", path=path)))
    assert part.path == path
    assert parse_name(f"tunnel+{part}+bumpy(seed=3)")[1] == part


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("file(path=grounds/my canyon.csv)", "grounds/my canyon.csv"),
        ("file(path='a, b (1)+c.csv')", "a, b (1)+c.csv"),
        ('file( path = "it\'s.npz" )', "it's.npz"),
    ],
)
def test_paths_with_commas_brackets_and_blanks_can_be_said(said, path):
    assert parse_name(said)[0].path == path
