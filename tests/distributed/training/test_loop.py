"""The order of a run, and that nothing but its configuration decides it."""

from __future__ import annotations

import logging
import os
import signal

import numpy as np
import pytest
import torch

from distributed.checkpoint.manager import load_checkpoint, save_checkpoint
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.ray_pool import RayPool
from distributed.rollout.worker import RolloutWorker
from distributed.training.loop import STAGES
from distributed.training.metrics import program_metrics
from softprompt.models.frozen import FrozenLM
from tests.distributed.tiny_runs import LETTERS, config, finish, loop_of, outcome, worker_arguments

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def lm(tiny_lm):
    return tiny_lm[0]


@pytest.fixture(scope="module")
def whole(lm):
    """An uninterrupted run."""
    return finish(loop_of(config(), lm))


def test_stages_come_in_their_order_and_programs_are_counted(lm):
    loop, seen = loop_of(config(), lm), []
    while loop.stage != "done":
        seen.append(loop.stage)
        loop.advance()
    assert list(dict.fromkeys(seen)) == list(STAGES[:-1])
    assert loop.step == 3
    assert loop.rollouts == 24 + 3 * 12
    assert [len(loop.tuned[t]["programs"]) for t in LETTERS] == [8, 8]


def test_closing_comes_behind_the_steps_takes_no_programs_for_training_and_survives_a_restart(lm):
    settings = {"method__closing_steps": 30}
    first = loop_of(config(**settings), lm)
    while first.stage != "closing":
        first.advance()
    rollouts, before = first.rollouts, first.learner.prompt_state().prompts
    restored = loop_of(config(**settings), lm)
    restored.load_state_dict(first.state_dict())
    finish(first)
    assert first.history[-1]["phase"] == "closing" and first.rollouts == rollouts
    assert not np.array_equal(first.learner.prompt_state().prompts, before)
    assert outcome(finish(restored)) == outcome(first)


def test_the_same_seed_is_the_same_run_and_another_seed_another(lm, whole):
    assert outcome(finish(loop_of(config(), lm))) == outcome(whole)
    assert outcome(finish(loop_of(config(train__seed=6), lm)))["prompts"] != outcome(whole)["prompts"]


def test_the_language_model_is_bit_for_bit_the_same_after_a_run(lm):
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    hashed = lm.hash
    loop = finish(loop_of(config(method__replay_steps=2), lm))
    assert not np.array_equal(loop.learner.source.weight.detach(), loop_of(config(), lm).learner.source.weight.detach())
    assert all(torch.equal(before[name], tensor) for name, tensor in lm.model.state_dict().items())
    assert FrozenLM(lm.model, lm.tokenizer).hash == hashed


@pytest.mark.parametrize("pieces", range(1, 8))
def test_a_loop_saved_anywhere_and_restored_goes_on_bit_for_bit(lm, whole, pieces):
    first = loop_of(config(), lm)
    for _ in range(pieces):
        first.advance()
    second = loop_of(config(), lm)
    second.load_state_dict(first.state_dict())
    assert (second.stage, second.step) == (first.stage, first.step)
    assert outcome(finish(second)) == outcome(whole)


def test_a_state_of_other_terrains_is_refused(lm, whole):
    state = whole.state_dict() | {"terrains": ["a", "o"]}
    with pytest.raises(ValueError, match="terrains"):
        loop_of(config(), lm).load_state_dict(state)


def test_one_and_two_workers_on_ray_are_the_run_of_this_process(lm, whole, local_ray):
    for workers in (1, 2):
        small, shared = worker_arguments(config(), lm)
        with RayPool(RolloutWorker, small, shared, n_workers=workers, cpus_per_worker=0.5) as pool:
            loop = loop_of(config(), lm, pool)
            first = outcome(finish(loop))
        assert first["rollouts"] == whole.rollouts
        assert first["tuned"] == outcome(whole)["tuned"]


def test_a_worker_killed_in_the_middle_of_a_run_costs_nothing_and_is_named(lm, whole, local_ray, caplog):
    small, shared = worker_arguments(config(), lm)
    with RayPool(RolloutWorker, small, shared, n_workers=2, cpus_per_worker=0.5) as pool:
        pool.wait_ready()
        loop, doomed = loop_of(config(), lm, pool), pool.pids[0]
        with caplog.at_level(logging.WARNING, "terraprompt"):
            while loop.step < 1:
                loop.advance()
            os.kill(doomed, signal.SIGKILL)
            finish(loop)
        assert pool.replacements == 1 and f"worker 0 (pid {doomed}) died" in caplog.text
    assert loop.rollouts == whole.rollouts
    assert outcome(loop)["tuned"] == outcome(whole)["tuned"]


def test_the_best_programs_only_get_better(lm):
    loop, bests = loop_of(config(), lm), []
    while loop.stage != "evaluation":
        loop.advance()
        bests.append([max((e.fitness for e in loop.learner.elites.best(k)), default=-np.inf) for k in range(2)])
    assert np.all(np.diff(np.nan_to_num(bests, neginf=-1.0), axis=0) >= 0)
    assert np.isfinite(bests[-1]).any()


def test_a_program_tried_on_another_terrain_becomes_its_elite(lm):
    longer = {"method__gen_kwargs__max_new_tokens": 40, "warm_start__samples": 2}
    run = config(method__replay_transfer=2, method__replay_size=3, **longer)
    loop, tried = loop_of(run, lm), []
    generate = loop.pool._worker.generate
    loop.pool._worker.generate = lambda *asked: tried.append(generate(*asked)) or tried[-1]
    while loop.step < 3:
        loop.advance()
    trials = [(k, r.ids[row][r.mask[row]].tolist(), f) for r in tried for row, k, f in r.trials if f is not None]
    steps = [h for h in loop.history if h["phase"] == "steps"]
    assert sum(h["transfer/tried"] for h in steps) >= len(trials) > 0
    assert sum(h["transfer/entered"] for h in steps) > 0
    for terrain, ids, fitness in trials:
        elites = loop.learner.elites.best(terrain)
        assert fitness <= elites[-1].fitness or tuple(ids) in [elite.ids for elite in elites]


@pytest.mark.parametrize(
    "settings", [{"method__replay_transfer": 0}, {"method__replay_weight": 0, "method__replay_steps": 0}]
)
def test_programs_are_tried_on_other_terrains_only_where_they_are_replayed(lm, settings):
    loop = finish(loop_of(config(train__total_steps=1, **settings), lm))
    assert [h["transfer/tried"] for h in loop.history if h["phase"] == "steps"] == [0.0]


def test_the_last_prompts_are_handed_out_without_save_best_and_each_terrains_best_with_it(lm):
    last = finish(loop_of(config(train__save_best=False), lm))
    np.testing.assert_array_equal(last.prompts, last.learner.source.weight.detach().numpy())
    best = finish(loop_of(config(train__save_best=True), lm))
    assert best.prompts.shape == last.prompts.shape


def test_a_run_without_valid_programs_says_so_in_words(lm, monkeypatch):
    said = []
    run = config(terrains__names=["Q", "Z"], train__total_steps=6)
    loop = loop_of(run, lm, LocalPool(RolloutWorker, *worker_arguments(run, lm)))
    loop.display.message = said.append
    loop.pool = _Failing(loop.pool)
    finish(loop)
    assert any("no valid program" in line for line in said)


class _Failing:
    """A pool whose programs all fail."""

    def __init__(self, pool):
        self._pool, self.counters = pool, pool.counters

    def run(self, *arguments):
        return [self._fail(r) for r in self._pool.run(*arguments)]

    def submit(self, *arguments):
        return self._pool.submit(*arguments)

    def collect(self, ticket):
        return [self._fail(r) for r in self._pool.collect(ticket)]

    @staticmethod
    def _fail(rollouts):
        rollouts.fitness[:] = 0
        rollouts.rewards[:] = -0.1
        for row in rollouts.failures:
            row[:] = ["no letter"] * len(row)
        return rollouts


KINDS = {
    "ten": {"method__prompt_source": "ten", "ten__terrain_id": True, "ten__hidden": 16, "rollouts__max_staleness": 1},
    "layers": {"model__num_layers_unfrozen": 1, "method__unfrozen_lr": 0.003, "rollouts__max_staleness": 1},
    "both": {"method__prompt_source": "ten", "model__num_layers_unfrozen": -1, "train__save_best": False},
    "residual": {"method__reparameterize": "residual"},
    "es": {"method__estimator": "es", "method__es_pairs": 2, "scheduler__name": "cosine_annealing"},
    "many prompts": {
        "method__prompts_per_terrain": 3,
        "method__repeat_discount": 1.0,
        "method__unique_target": 0.8,
        "method__replay_steps": 2,
        "method__replay_bar": 0.0,
        "method__closing_steps": 2,
        "method__num_rollouts": 18,
    },
    "many prompts of a ten": {
        "method__prompt_source": "ten",
        "method__prompts_per_terrain": 3,
        "ten__hidden": 16,
        "ten__id_dropout": 0.5,
        "method__replay_bar": 0.0,
        "method__closing_steps": 2,
        "method__num_rollouts": 18,
        "rollouts__max_staleness": 1,
    },
    "variety": {
        "method__distinct_by": "tokens",
        "method__novelty_weight": 0.5,
        "method__entropy_coef": 0.01,
        "method__replay_from": "spread",
        "method__replay_size": 2,
        "method__repeats_by": "cell",
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_trained_a_loop_saved_anywhere_and_restored_goes_on_bit_for_bit(lm, tmp_path, kind):
    run = config(**KINDS[kind])
    loop, saved = loop_of(run, lm), []
    while loop.stage != "done":
        loop.advance()
        saved.append(save_checkpoint(tmp_path, len(saved), loop.state_dict(), keep=99))
    for path in saved[1:-1]:
        other = loop_of(run, lm)
        other.load_state_dict(load_checkpoint(path).state)
        assert outcome(finish(other)) == outcome(loop)


@pytest.mark.parametrize("kind", ["ten", "layers", "many prompts of a ten"])
def test_what_is_shared_by_terrains_is_handed_out_as_it_was_at_one_moment(lm, kind):
    loop, moments = loop_of(config(**KINDS[kind]), lm), []
    while loop.stage != "done":
        moments.append(loop.learner.snapshot())
        loop.advance()
    [same] = {m.state.version for m in moments if np.array_equal(m.state.prompts, loop.prompts)}
    final = loop.final
    moment = next(m for m in moments if m.state.version == same)
    assert final.state.layers == moment.state.layers
    if kind != "layers":
        network = loop.learner.network(final)
        np.testing.assert_array_equal(network.prompts().detach().numpy(), loop.prompts)


def test_trained_layers_reach_workers_on_ray_as_they_do_this_process(lm, local_ray):
    run = config(**KINDS["layers"])
    here = outcome(finish(loop_of(run, lm)))
    small, shared = worker_arguments(run, lm)
    with RayPool(RolloutWorker, small, shared, n_workers=2, cpus_per_worker=0.5) as pool:
        assert outcome(finish(loop_of(run, lm, pool)))["tuned"] == here["tuned"]


def test_a_warning_is_given_once_while_what_it_says_lasts(lm):
    said = []
    run = config(terrains__names=["a", "e"], train__total_steps=8, optimizer__kwargs__lr=1e-6, method__replay_weight=0)
    loop = loop_of(run, lm)
    loop.display.message = said.append
    finish(loop)
    assert sum("the prompts hardly move" in line for line in said) == 1


def test_the_two_of_a_pair_of_prompts_draw_by_the_same_chance_and_pairs_by_their_own(lm):
    loop, asked = loop_of(config(**KINDS["es"]), lm), []
    loop.stage, submit = "steps", loop.pool.submit
    loop.pool.submit = lambda requests, state: asked.append(requests) or submit(requests, state)
    for _ in range(2):
        loop.advance()
    seeds = [tuple(r.seed for r in requests) for requests in asked]
    assert len(seeds) == 8 and seeds[:2] == seeds[2:4] and seeds[4:6] == seeds[6:]
    assert len(set(seeds)) == 4
    assert len({r.id for requests in asked for r in requests}) == sum(map(len, asked))
    assert loop.rollouts == 2 * 8  # of 12 a step, 4 prompts and 2 terrains take 1 each


def test_rollouts_are_never_staler_than_their_bound(lm):
    for bound in (0, 2):
        history = finish(loop_of(config(rollouts__max_staleness=bound, train__total_steps=6), lm)).history
        staleness = [entry["staleness"] for entry in history if entry["phase"] == "steps"]
        assert len(staleness) == 6 and max(staleness) == bound and min(staleness) >= 0


def test_a_kind_of_failure_that_has_occurred_is_counted_from_then_on(lm, monkeypatch):
    loop = loop_of(config(method__gen_kwargs__max_new_tokens=3, train__total_steps=4), lm)
    kinds = iter([["syntax"], ["name", "name"], [], []])

    def with_failures(terrains, results, before):
        # The first rows of the step fail in ways of the test's own.
        own = next(kinds)
        for r in results:
            r.failures[:] = [[own.pop()] if own else [None] for _ in r.failures]
        return program_metrics(terrains, results, before)

    monkeypatch.setattr("distributed.training.metrics.program_metrics", with_failures)
    steps = [entry for entry in finish(loop).history if entry["phase"] == "steps"]
    assert [entry.get("failures/syntax") for entry in steps] == [1, 0, 0, 0]
    assert [entry.get("failures/name") for entry in steps] == [None, 2, 0, 0]
