"""Stage 1: styles draw programs, mutation makes their relatives, the builder keeps those that move."""

from __future__ import annotations

import ast
import json
import random

import pytest

from terrains.base import Attempt, Score
from terrains.sodarace.corpus import CorpusBuilder, CorpusConfig, read_corpus, write_corpus
from terrains.sodarace.mutation import mutate
from terrains.sodarace.seeds import SEEDS
from terrains.sodarace.styles import INSTRUCTION, STYLES, canonical

TERRAINS = ("left_wall", "right_wall", "tunnel", "bumpy")


def programs(style, count=30):
    return [STYLES[style](random.Random(seed)) for seed in range(count)]


def small(**settings):
    return CorpusConfig(**{"programs": 30, "batch": 40, "terrains": TERRAINS, "seed": 3} | settings)


def build(world, config):
    builder = CorpusBuilder(world, config)
    sizes = list(builder.run())
    return builder, sizes


class CountingWorld:
    """Scores by the text alone, and remembers what it was asked."""

    def __init__(self):
        self.asked: list[Attempt] = []

    def score(self, attempts):
        self.asked.extend(attempts)
        return [self.judge(a) for a in attempts]

    def judge(self, attempt):
        if random.Random(attempt.program).random() < 0.3:
            return Score(-0.1, 0.0, "name", "unlucky")
        luck = random.Random(attempt.terrain + attempt.program).random()
        return Score(luck, 20 * luck)


@pytest.mark.parametrize("style", STYLES)
def test_programs_of_every_style_are_canonical_python_that_begins_with_the_instruction(style):
    drawn = programs(style)
    for program in drawn:
        assert program.startswith(INSTRUCTION)
        assert canonical(program) == program
        assert any(isinstance(n, ast.FunctionDef) and n.name == "make_walker" for n in ast.parse(program).body)
    assert len(set(drawn)) > len(drawn) // 2, "a style says more than one thing"


@pytest.mark.parametrize("style", STYLES)
def test_a_style_is_a_function_of_its_seed(style):
    assert programs(style) == programs(style)


def test_most_programs_of_every_style_are_walkers_that_move(world):
    for style in STYLES:
        scores = world.score([Attempt("flat", p) for p in programs(style)])
        assert sum(s.valid for s in scores) >= len(scores) / 2, style


def test_canonical_layout_forgets_blanks_and_comments():
    loose = "import math\n\n\ndef make_walker( ) :\n    # a comment\n\n    return  1\n"
    assert canonical(loose) == "import math\ndef make_walker():\n    return 1\n"
    with pytest.raises(SyntaxError):
        canonical("def make_walker(:")


@pytest.mark.parametrize("strength", [1, 3])
def test_mutated_programs_parse_and_keep_the_instruction(strength):
    parents = [*SEEDS.values(), *(p for style in STYLES for p in programs(style, 5))]
    changed = 0
    for seed, parent in enumerate(parents * 3):
        child = mutate(parent, random.Random(seed), strength)
        assert canonical(child) == child
        assert child.startswith(INSTRUCTION)
        changed += child != canonical(parent)
    assert changed > 2 * len(parents)


def test_mutation_is_a_function_of_its_seed():
    children = [mutate(SEEDS["galloper"], random.Random(seed), 2) for seed in range(20)]
    assert children == [mutate(SEEDS["galloper"], random.Random(seed), 2) for seed in range(20)]
    assert len(set(children)) > 10


def test_mutation_refuses_what_does_not_parse():
    with pytest.raises(SyntaxError):
        mutate("def make_walker(:", random.Random(0), 1)


def test_builder_keeps_unique_programs_that_move(world):
    config = small(min_fitness=5.0)
    builder, sizes = build(world, config)
    kept = builder.kept
    assert len(kept) == config.programs == sizes[-1]
    assert len({p.program for p in kept}) == len(kept)
    assert all(max(p.fitness.values()) >= config.min_fitness for p in kept)
    assert all(p.style in STYLES and set(p.fitness) == set(TERRAINS) for p in kept)
    for entry in kept[:5]:
        scores = world.score([Attempt(t, entry.program) for t in TERRAINS])
        assert [s.fitness for s in scores] == pytest.approx([entry.fitness[t] for t in TERRAINS], abs=0.01)


def test_builder_mutates_what_it_kept_once_it_has_drawn_enough():
    builder, _ = build(CountingWorld(), small(programs=120, random_share=0.5))
    parents = [p.parent for p in builder.kept]
    assert parents[0] is None and parents[-1] is not None
    for k, entry in enumerate(builder.kept):
        if entry.parent is not None:
            assert entry.parent < k
            assert entry.style == builder.kept[entry.parent].style


def test_builder_is_a_function_of_its_seed():
    one, other = (build(CountingWorld(), small(programs=60))[0].kept for _ in range(2))
    assert one == other
    assert [p.program for p in build(CountingWorld(), small(programs=60, seed=4))[0].kept] != [p.program for p in one]


def test_builder_counts_everything_it_tried():
    world = CountingWorld()
    builder, _ = build(world, small(programs=100))
    assert builder.tried == len(builder.kept) + sum(builder.failures.values())
    unscored = sum(builder.failures.get(reason, 0) for reason in ("repeat", "too_long"))
    assert len(world.asked) == (builder.tried - unscored) * len(TERRAINS)
    assert len({a.program for a in world.asked}) == builder.tried - unscored, "no program is scored twice"
    assert builder.failures["name"] > 0


def test_correlations_are_a_table_over_terrains(world):
    builder, _ = build(world, small(programs=20))
    table = builder.correlations()
    assert table.shape == (4, 4)
    assert table.diagonal() == pytest.approx(1.0)
    assert table == pytest.approx(table.T)


def test_corpus_survives_its_file(tmp_path):
    kept = build(CountingWorld(), small())[0].kept
    path = tmp_path / "made" / "corpus.jsonl"
    write_corpus(path, kept)
    assert read_corpus(path) == kept
    assert [p.name for p in path.parent.iterdir()] == ["corpus.jsonl"], "no half-written file stays behind"
    write_corpus(path, kept[:3])
    assert len(read_corpus(path)) == 3


def test_what_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no corpus at"):
        read_corpus(tmp_path / "missing.jsonl")
    for name, text in {"broken": "{", "other": json.dumps({"program": "import math"}) + "\n"}.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a corpus"):
            read_corpus(path)
