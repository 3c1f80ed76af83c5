"""Mutation on syntax trees: whatever is done to a program, what comes out is one in the corpus' own language."""

from __future__ import annotations

import ast
import random
import re

import pytest

from terrains.base import Attempt
from terrains.sodarace.instruction import INSTRUCTION
from terrains.sodarace.programs.body import read_skeleton, tidy, write_skeleton
from terrains.sodarace.programs.mutation import JOINING, OPERATORS, mutate
from terrains.sodarace.programs.mutation.numbers import WHOLE, NumberRoles
from terrains.sodarace.programs.number_grid import AMPLITUDES, PHASES, RATES, TALLEST, WIDEST
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.programs.styles import STYLES, canonical, print_program
from terrains.sodarace.programs.syntax_tree import arguments, bodies, functions, muscles_of

DRAWN = {style: [STYLES[style](random.Random(seed)) for seed in range(12)] for style in STYLES}
EVERY = [p for programs in DRAWN.values() for p in programs]

LISTED = """\
import math
def make_walker():
    wc = walker_creator()
    js = [wc.add_joint(x, y) for x, y in [(0, 0), (4, 6), (10, 2)]]
    for a, b, p in [(0, 1, 0.2), (1, 2, 0.8)]:
        wc.add_muscle(js[a], js[b], 2.0, p)
    return wc.get_walker()
"""


def changed_by(operator, program, seeds=range(20)):
    """What an operator makes of a program, where it can do something."""
    made = []
    for seed in seeds:
        tree = ast.parse(program)
        if operator(tree, random.Random(seed)):
            made.append(print_program(tree))
    return made


def descendants(generations=4, seed=0):
    """A population after some generations, each program mutated with a mate."""
    rng = random.Random(seed)
    population = list(EVERY)
    for _ in range(generations):
        population = [mutate(p, rng, rng.randint(1, 3), rng.choice(population)).program for p in population]
    return population


@pytest.mark.parametrize("strength", [1, 3])
def test_mutated_programs_parse_and_keep_the_instruction(strength):
    parents = [*SEEDS.values(), *EVERY]
    changed = 0
    for seed, parent in enumerate(parents):
        child = mutate(parent, random.Random(seed), strength, parents[-seed])
        assert canonical(child.program) == child.program
        assert child.program.startswith(INSTRUCTION)
        changed += child.program != canonical(parent)
    assert changed > 0.9 * len(parents)


def test_mutation_is_a_function_of_its_seed():
    one, other = ([mutate(LISTED, random.Random(seed), 2, EVERY[0]) for seed in range(20)] for _ in range(2))
    assert one == other
    assert len({child.program for child in one}) > 10


def test_mutation_refuses_what_does_not_parse():
    with pytest.raises(SyntaxError):
        mutate("def make_walker(:", random.Random(0))
    with pytest.raises(SyntaxError):
        mutate(LISTED, random.Random(0), 1, "def make_walker(:")


def test_every_operator_finds_something_to_do_and_changes_the_program():
    for name, (operator, _) in OPERATORS.items():
        made = [(p, child) for p in EVERY for child in changed_by(operator, p, range(3))]
        assert made, name
        assert sum(p != child for p, child in made) > 0.7 * len(made), name


def test_every_joining_operator_takes_something_from_the_mate():
    for name, (operator, _) in JOINING.items():
        taken = 0
        for seed, program in enumerate(EVERY * 3):
            rng = random.Random(seed)
            tree = ast.parse(program)
            if operator(tree, ast.parse(rng.choice(EVERY)), rng):
                taken += 1
                assert print_program(tree) != program, name
        assert taken > 3, name


def test_a_loop_never_adds_the_same_muscle_twice_and_a_refusal_changes_nothing():
    operator = OPERATORS["loop"][0]
    for seed, program in enumerate([*DRAWN["complete"], *DRAWN["truss"], *DRAWN["radial"]] * 5):
        tree = ast.parse(program)
        if not operator(tree, random.Random(seed)):
            assert print_program(tree) == program
        for body in bodies(tree):
            ends = [tuple(sorted(map(ast.unparse, arguments(line)[:2]))) for line in muscles_of(body)]
            assert len(set(ends)) == len(ends), program


def test_the_record_says_which_operators_were_applied_and_whether_a_mate_has_a_part():
    for seed, program in enumerate(EVERY):
        child = mutate(program, random.Random(seed), 2, EVERY[-seed])
        assert set(child.operators) <= {*OPERATORS, *JOINING}
        assert child.joined == bool(set(child.operators) & set(JOINING))
        assert not mutate(program, random.Random(seed)).joined


def test_descendants_stay_on_the_lattice():
    allowed = {"amplitude": AMPLITUDES, "phase": RATES, "rate": RATES, **WHOLE}
    for program in descendants():
        tree = ast.parse(program)
        for number, role in NumberRoles(tree).found:
            assert number.value in allowed[role], (role, program)
        body = read_skeleton(tree)
        if body is not None:
            assert all(0 <= x <= WIDEST and 0 <= y <= TALLEST for x, y in body.places)


def test_descendants_speak_the_language_of_the_styles():
    """The text between numbers is what the tokenizer merges: few kinds of it, or the model has much more to learn."""

    def texts(programs):
        return {text for p in programs for text in re.split(r"[0-9]\.[0-9]|[0-9]", p)}

    assert len(texts(descendants())) < 2.5 * len(texts(EVERY))


def test_most_children_of_moving_walkers_are_walkers_that_move(world):
    rng = random.Random(1)
    children = [mutate(rng.choice(EVERY), rng, 1, rng.choice(EVERY)).program for _ in range(80)]
    scores = world.score([Attempt("flat", p) for p in children])
    assert sum(s.valid for s in scores) > 0.6 * len(scores)


def test_a_mirrored_walker_walks_the_other_way(world):
    mirrored = changed_by(OPERATORS["mirror"][0], LISTED, [0])[0]
    assert canonical(mirrored) != LISTED
    walker, other = world.walker(LISTED), world.walker(mirrored)
    assert sorted(10 - walker.joints[:, 0]) == sorted(other.joints[:, 0])
    assert (walker.mass, walker.height, walker.width) == (other.mass, other.height, other.width)
    again = changed_by(OPERATORS["mirror"][0], mirrored, [0])[0]
    assert again == LISTED


@pytest.mark.parametrize("style", ["straight", "listed", "complete", "field"])
def test_a_skeleton_survives_being_written(style):
    for program in DRAWN[style]:
        tree = ast.parse(program)
        body = read_skeleton(tree)
        assert body is not None
        write_skeleton(tree, body)
        assert read_skeleton(ast.parse(print_program(tree))) == body
        assert print_program(tree) == program


@pytest.mark.parametrize("style", ["grid", "radial", "truss", "legged", "shapes", "cppn"])
def test_programs_that_compute_their_places_have_no_skeleton(style):
    assert all(read_skeleton(ast.parse(program)) is None for program in DRAWN[style])


def test_a_tidy_body_goes_from_left_to_right_with_one_muscle_between_two_joints():
    body = tidy([(8, 0), (0, 2), (4, 6)], [(0, 1, (0.2,)), (1, 0, (0.4,)), (2, 2, (0.0,)), (2, 1, (0.6,))])
    assert body.places == ((0, 2), (4, 6), (8, 0))
    assert body.muscles == ((0, 1, (0.6,)), (0, 2, (0.2,)))


def test_a_helper_is_swapped_only_for_one_that_is_called_alike():
    legs, beats = DRAWN["legged"][0], DRAWN["field"][:6]
    swap = JOINING["helper"][0]
    assert not swap(ast.parse(legs), ast.parse(beats[0]), random.Random(0))
    tree = ast.parse(beats[0])
    mate = next(b for b in beats[1:] if functions(ast.parse(b))[0].body[0] and b[:80] != beats[0][:80])
    assert swap(tree, ast.parse(mate), random.Random(0))
    assert ast.dump(functions(tree)[0]) == ast.dump(functions(ast.parse(mate))[0])
    assert ast.dump(functions(tree)[1]) == ast.dump(functions(ast.parse(beats[0]))[1])


def test_waves_turn_round_and_back():
    tree = ast.parse(LISTED)
    assert OPERATORS["against"][0](tree, random.Random(0))
    assert "(0, 1, 0.8), (1, 2, 0.2)" in print_program(tree)
    assert set(PHASES) == {round(-p % 1.0, 1) for p in PHASES}, "what turns round stays on the lattice"
