"""Stage 1: programs evolve, what is near the best of its niche is kept, everything else is counted."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from terrains.base import Attempt
from terrains.sodarace.map_elites.corpus import CorpusConfig
from terrains.sodarace.map_elites.evaluation import Evaluation, WorldEvaluator
from terrains.sodarace.map_elites.evolution import Evolution, numbers_in
from terrains.sodarace.map_elites.log import CorpusLog
from terrains.sodarace.programs.styles import STYLES
from tests.terrains.sodarace.luck import Luck


def settings(**given):
    return CorpusConfig(
        **{"programs": 200, "evaluations": 400, "drawn_first": 100, "generation": 50, "chunk": 20, "seed": 3} | given
    )


def evolved(config, evaluator=None):
    evolution = Evolution(evaluator or Luck(), config)
    return evolution, list(evolution.run())


def test_the_corpus_is_unique_programs_near_the_best_of_their_niche():
    config = settings(programs=1000)
    evolution, _ = evolved(config)
    corpus, dropped = evolution.corpus()
    assert len({p.program for p in corpus}) == len(corpus) > 50
    assert "surplus" not in dropped
    for p in corpus:
        shares = [np.mean([p.fitness[t] for t in names]) / max(p.niche_best[g], 1e-9)
                  for g, names in config.named_groups.items() if p.niche_best[g]]  # fmt: skip
        assert p.share == pytest.approx(max(shares), abs=0.002)
        assert config.niches.keep_above <= p.share <= 1.0
    elites = {p.id for p in corpus if p.share == 1.0}
    assert evolution.archives.elites() == elites


def test_everything_tried_is_counted():
    luck = Luck()
    evolution, generations = evolved(settings(programs=40, max_numbers=30), luck)
    corpus, dropped = evolution.corpus()
    assert len(corpus) == 40 and dropped["surplus"] > 0
    assert evolution.tried == len(corpus) + sum(evolution.left_out.values()) + sum(dropped.values())
    assert evolution.evaluated == len(luck.asked) == len(set(luck.asked)) == 400, "no program is evaluated twice"
    assert all(numbers_in(p) <= 30 for p in luck.asked)
    assert evolution.left_out["name"] > 0 and evolution.left_out["too_long"] > 0
    assert [g.evaluated for g in generations] == list(range(50, 401, 50))


def test_a_smaller_corpus_holds_those_nearest_to_their_niches_best():
    evolution, _ = evolved(settings(programs=1000))
    every, _ = evolution.corpus()
    evolution.config = settings(programs=60)
    few, _ = evolution.corpus()
    assert min(p.share for p in few) >= max(p.share for p in every if p not in few)
    assert [p.id for p in few] == sorted(p.id for p in few)


def test_lineage_names_programs_that_came_before():
    evolution, generations = evolved(settings())
    kept = {p.id: p for g in generations for p in g.kept}
    assert all(not p.parents and not p.operators and p.style in STYLES for p in kept.values() if p.id < 100)
    mutated = [p for p in kept.values() if p.parents]
    assert len(mutated) > 20
    assert {len(p.parents) for p in mutated} == {1, 2}
    for p in mutated:
        assert all(parent < p.id and parent in kept for parent in p.parents)
        assert p.operators
        assert p.style == kept[p.parents[0]].style


def test_evolution_is_a_function_of_its_seed_and_not_of_the_chunks():
    one, other = (evolved(settings(chunk=chunk))[0].corpus() for chunk in (7, 20))
    assert one == other
    assert evolved(settings(seed=4))[0].corpus() != one


def test_one_walker_has_one_program():
    class Twins(Luck):
        def judge(self, program):
            return super().judge(program[:60])

    evolution, _ = evolved(settings(), Twins())
    walkers = [(tuple(p.fitness.values()), tuple(p.descriptors.values())) for p in evolution.corpus()[0]]
    assert len(set(walkers)) == len(walkers)
    assert evolution.left_out["same_walker"] > 0


def test_evolution_ends_when_it_finds_nothing_new(monkeypatch):
    monkeypatch.setattr(
        "terrains.sodarace.map_elites.evolution.STYLES", {"one": lambda rng: f"import math\n# {rng.randrange(9)}"}
    )
    evolution, generations = evolved(settings(drawn_first=400))
    assert evolution.evaluated == 9
    assert len(generations) == 2


def test_random_generation_only_draws():
    evolution, _ = evolved(settings(drawn_share=1.0, evaluations=200))
    assert all(not p.parents for p in evolution.kept.values())


class Strength(Luck):
    """Fitness is how many muscles have the greatest amplitude, which no style draws: only mutation gets there."""

    def judge(self, program):
        return Evaluation((6.0 + program.count("2.5"),) * 4, (len(program) % 12, len(program) % 20, 10.0), None)


def test_elites_get_better_than_those_of_random_generation():
    evolved_score, random_score = (
        sum(evolved(settings(drawn_share=share), Strength())[0].archives.qd_score().values()) for share in (0.1, 1.0)
    )
    assert evolved_score > 1.1 * random_score


def test_evaluations_are_what_the_world_says(world):
    programs = [STYLES["truss"](random.Random(s)) for s in range(4)] + ["import math\nmake_walker = 1"]
    evaluator = WorldEvaluator(world, ("flat", "tunnel"))
    found = [e for chunk in evaluator.evaluate([programs[:2], programs[2:]]) for e in chunk]
    for program, evaluation in zip(programs, found, strict=True):
        scores = world.score([Attempt(t, program) for t in ("flat", "tunnel")])
        assert evaluation.fitness == tuple(round(s.fitness, 2) for s in scores)
        assert (evaluation.failure is None) == all(s.valid for s in scores)
    walker = world.walker(programs[0])
    assert found[0].descriptors == pytest.approx((walker.height, walker.width, walker.mass), abs=1e-3)
    assert found[-1].descriptors is None and found[-1].failure == "type"


def resumed(path, config, patience):
    """Runs until patience ends, then again until it is done, through the log."""
    lucks = Luck(patience=patience), Luck()
    for luck in lucks:
        log = CorpusLog(path, config, ["physics"])
        evolution = Evolution(luck, config)
        evolution.restore(*log.read())
        try:
            for generation in evolution.run(log.append_evaluations):
                log.append(generation, 1.0)
        except KeyboardInterrupt:
            with path.open("a") as file:
                file.write('{"program": "cut sho')
    return evolution, log, [luck.asked for luck in lucks]


@pytest.mark.parametrize("patience", [20, 60, 99, 230])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, patience):
    config = settings()
    evolution, log, (before, after) = resumed(tmp_path / "run.jsonl", config, patience)
    whole, _ = evolved(config)
    assert len(before) > patience - config.chunk
    assert len({*before, *after}) == len(before) + len(after) == 400, "nothing is evaluated twice"
    assert evolution.corpus() == whole.corpus()
    assert evolution.left_out == whole.left_out
    counts = [(e.tried, e.evaluated, e.valid, e.history) for e in (evolution, whole)]
    assert counts[0] == counts[1]
    assert log.seconds == 8.0


def test_programs_written_without_the_generation_that_they_belong_to_are_cut_off(tmp_path):
    config, path = settings(evaluations=100), tmp_path / "run.jsonl"
    whole, _, _ = resumed(path, config, None)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    evolution, _, (asked, _) = resumed(path, config, None)
    assert asked == [], "what was evaluated is there"
    assert evolution.corpus() == whole.corpus()
    assert path.read_text().splitlines(keepends=True) == lines


def test_a_finished_run_goes_on_with_more_evaluations(tmp_path):
    config = settings(evaluations=200)
    _, log, _ = resumed(tmp_path / "run.jsonl", config, 100)
    more = settings(evaluations=400)
    evolution = Evolution(Luck(), more)
    evolution.restore(*CorpusLog(log.path, more, ["physics"]).read())
    list(evolution.run())
    assert evolution.corpus() == evolved(more)[0].corpus()


def test_a_run_that_goes_on_with_fewer_evaluations_takes_those_that_it_has(tmp_path):
    path = tmp_path / "run.jsonl"
    log, evolution = CorpusLog(path, settings(), ["physics"]), Evolution(Luck(patience=90), settings())
    with pytest.raises(KeyboardInterrupt):
        for generation in evolution.run(log.append_evaluations):
            log.append(generation, 1.0)
    fewer = settings(evaluations=60)
    evolution = Evolution(Luck(patience=0), fewer)
    evolution.restore(*CorpusLog(path, fewer, ["physics"]).read())
    assert [g.evaluated for g in evolution.run()] == [90]


def test_a_log_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "run.jsonl"
    resumed(path, settings(evaluations=100), None)
    with pytest.raises(ValueError, match="begun with seed = 3, not 5"):
        CorpusLog(path, settings(seed=5), ["physics"]).read()
    with pytest.raises(ValueError, match="other terrains, or with other physics"):
        CorpusLog(path, settings(), ["new physics"]).read()
    for text in ("", "{\n", json.dumps({"program": 1}) + "\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a log"):
            CorpusLog(path, settings(), ["physics"]).read()
