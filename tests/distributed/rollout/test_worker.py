"""The rollout worker with a small random language model: same request, same rollouts, wherever it runs."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from distributed.rollout.instructions import instruction_ids
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.ray_pool import RayPool
from distributed.rollout.types import LayerWeights, PromptState, RolloutRequest, Rollouts
from distributed.rollout.worker import RolloutWorker
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import UnfrozenLM, top_layers
from softprompt.pretrain.tokenizer import train_tokenizer
from softprompt.sampling import GenerationConfig, Samples
from terrains.sodarace.world import SodaraceWorld, WorldConfig
from tests.distributed.tiny_workers import INSTRUCTION, LetterWorld
from tests.softprompt.drawing import assert_drawn

Arguments = tuple[dict[str, Any], dict[str, Any]]
TERRAINS = ["a", "e", "i"]
pytestmark = [pytest.mark.timeout(180), pytest.mark.arithmetic]


@pytest.fixture(scope="module")
def arguments() -> Arguments:
    """Small and shared arguments of a worker with a random language model over a corpus of vowels."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["import math\ndef make_walker(): pass", "aeiou " * 20], 300, INSTRUCTION)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    lm = FrozenLM(LlamaForCausalLM(config), tokenizer)
    generation = GenerationConfig(max_new_tokens=24)
    return {"make_world": LetterWorld, "terrains": TERRAINS, "generation": generation}, {"model": lm.export()}


STATE = PromptState(3, np.random.default_rng(0).normal(size=(3, 4, 32)).astype(np.float32))
REQUESTS = [
    RolloutRequest(0, 11, ((0, 3), (2, 2))),
    RolloutRequest(1, 12, ((1, 4),), score_on="all"),
    RolloutRequest(2, 13, ((2, 2), (2, 2)), use_prompt=False),
]


@pytest.fixture(scope="module")
def worker(arguments: Arguments) -> RolloutWorker:
    """A worker in this process."""
    small, shared = arguments
    return RolloutWorker(**small, **shared)


def assert_same(left: Rollouts, right: Rollouts) -> None:
    """Equal to the bit in all but the time they took."""
    for name in ("ids", "mask", "logprobs", "terrain", "rewards", "fitness", "descriptors", "identity"):
        one, other = getattr(left, name), getattr(right, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=name)
    for name in ("request_id", "version", "programs", "failures"):
        assert getattr(left, name) == getattr(right, name)


def assert_what_float64_draws(worker: RolloutWorker, request: RolloutRequest) -> None:
    """A worker draws from its model's own distribution behind the prompts of the groups."""
    rollouts, asked = worker.generate(request, STATE), worker._sample_requests(request)
    ids, mask, logprobs = (torch.from_numpy(getattr(rollouts, name)) for name in ("ids", "mask", "logprobs"))
    position = torch.tensor([r.terrain for r in asked for _ in range(r.count)])
    instructions = [r.instruction for r in asked for _ in range(r.count)]
    samples = Samples(ids, mask, logprobs, logprobs, position, instructions)
    assert_drawn(worker.lm, worker._prompts(request, STATE), asked, samples, GenerationConfig(max_new_tokens=24))


def test_rollouts_hold_what_was_asked(worker: RolloutWorker) -> None:
    rollouts = worker.generate(REQUESTS[0], STATE)
    assert (rollouts.request_id, rollouts.version) == (0, 3)
    assert rollouts.terrain.tolist() == [0, 0, 0, 2, 2] and rollouts.terrain.dtype == np.int64
    assert rollouts.ids.dtype == np.int64 and rollouts.mask.dtype == bool and rollouts.logprobs.dtype == np.float32
    assert (rollouts.logprobs[~rollouts.mask] == 0).all() and (rollouts.logprobs[rollouts.mask] < 0).all()
    for terrain, program, reward, fitness, failure in zip(
        rollouts.terrain, rollouts.programs, rollouts.rewards, rollouts.fitness, rollouts.failures, strict=True
    ):
        count = program.removeprefix(INSTRUCTION).count(TERRAINS[terrain])
        assert (reward.tolist(), fitness.tolist()) == ([count], [count / 2])
        assert failure == [None if count else "no letter"]
    assert set(rollouts.seconds) == {"generate", "score"}


def test_program_is_its_instruction_and_the_sampled_tokens(worker: RolloutWorker) -> None:
    rollouts = worker.generate(REQUESTS[0], STATE)
    for program, ids, mask in zip(rollouts.programs, rollouts.ids, rollouts.mask, strict=True):
        text = worker.lm.tokenizer.batch_decode([ids[mask].tolist()], skip_special_tokens=True)
        assert program == INSTRUCTION + text[0]


def test_scored_on_all_gives_a_column_for_each_terrain(worker: RolloutWorker) -> None:
    rollouts = worker.generate(REQUESTS[1], STATE)
    counts = [[program.removeprefix(INSTRUCTION).count(name) for name in TERRAINS] for program in rollouts.programs]
    assert rollouts.rewards.tolist() == counts
    assert sum(map(sum, counts)) > 0


@pytest.mark.parametrize("try_on", [1, 2, 9])
def test_the_best_valid_program_of_each_terrain_is_tried_on_so_many_others(worker: RolloutWorker, try_on: int) -> None:
    plain = RolloutRequest(5, 11, ((0, 6), (2, 5)))
    before, rollouts = worker.generate(plain, STATE), worker.generate(replace(plain, try_on=try_on), STATE)
    assert_same(before, rollouts)
    assert before.trials == ()
    for home in (0, 2):
        own = rollouts.terrain == home
        tried = [(row, terrain) for row, terrain, _ in rollouts.trials if own[row]]
        assert len({row for row, _ in tried}) == 1
        assert rollouts.fitness[tried[0][0], 0] == rollouts.fitness[own, 0].max() > 0
        grounds = [terrain for _, terrain in tried]
        assert len(set(grounds)) == len(grounds) == min(try_on, 2) and home not in grounds
    for row, terrain, fitness in rollouts.trials:
        count = rollouts.programs[row].removeprefix(INSTRUCTION).count(TERRAINS[terrain])
        assert fitness == (count / 2 if count else None)


def test_same_request_same_rollouts_and_another_seed_others(worker: RolloutWorker) -> None:
    first = worker.generate(REQUESTS[0], STATE)
    worker.generate(REQUESTS[1], STATE)
    assert_same(first, worker.generate(REQUESTS[0], STATE))
    assert first.programs != worker.generate(replace(REQUESTS[0], seed=99), STATE).programs


def test_prompt_acts_only_where_it_is_used(worker: RolloutWorker) -> None:
    with_prompt = worker.generate(REQUESTS[0], STATE)
    bare = replace(REQUESTS[0], use_prompt=False)
    without = worker.generate(bare, STATE)
    assert with_prompt.programs != without.programs
    assert_same(without, worker.generate(bare, PromptState(3, None)))
    other = PromptState(3, STATE.prompts[::-1].copy() if STATE.prompts is not None else None)
    assert with_prompt.programs != worker.generate(REQUESTS[0], other).programs


def test_layers_act_where_a_prompt_does_and_the_frozen_model_stays(arguments: Arguments) -> None:
    small, shared = arguments
    worker = RolloutWorker(**small, **shared)
    hashed = worker.lm.hash
    plain, bare = worker.generate(REQUESTS[0], STATE), worker.generate(REQUESTS[2], STATE)
    policy = UnfrozenLM(worker.lm, top_layers(worker.lm.model, 1))
    same = replace(STATE, layers=LayerWeights.of(policy.weights()))
    assert_same(plain, worker.generate(REQUESTS[0], same))
    with torch.no_grad():
        for p in policy.trained.values():
            p.mul_(1.5)
    trained = replace(STATE, layers=LayerWeights.of(policy.weights()))
    tuned = worker.generate(REQUESTS[0], trained)
    assert tuned.programs != plain.programs
    own = FrozenLM(policy.model, worker.lm.tokenizer).export()  # all of the trained model, as a worker's only one
    assert_same(tuned, RolloutWorker(**small, model=own).generate(REQUESTS[0], STATE))
    assert_same(bare, worker.generate(REQUESTS[2], trained))
    assert_same(plain, worker.generate(REQUESTS[0], STATE))
    assert_same(plain, worker.generate(REQUESTS[0], same))
    assert worker.lm.hash == hashed


def test_mixed_request_equals_its_terrains_one_by_one(worker: RolloutWorker) -> None:
    alone = [replace(REQUESTS[0], groups=(group,)) for group in REQUESTS[0].groups]
    asked = worker._sample_requests(REQUESTS[0])
    assert [(r.instruction, r.count, r.seed) for r in asked] == [
        (r.instruction, r.count, r.seed) for request in alone for r in worker._sample_requests(request)
    ]
    for request in (REQUESTS[0], *alone):
        assert_what_float64_draws(worker, request)


def test_two_groups_of_one_terrain_differ(worker: RolloutWorker) -> None:
    programs = worker.generate(REQUESTS[2], STATE).programs
    assert programs[:2] != programs[2:]


def test_number_of_threads_outside_changes_nothing(worker: RolloutWorker) -> None:
    first = worker.generate(REQUESTS[0], STATE)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_same(first, worker.generate(REQUESTS[0], STATE))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_instruction_keeps_the_start_token_and_drops_the_end(worker: RolloutWorker) -> None:
    plain = instruction_ids(worker.lm, INSTRUCTION)
    assert worker.lm.tokenizer.decode(list(plain)) == INSTRUCTION
    assert all(token not in plain for token in worker.lm.tokenizer.all_special_ids)


def test_same_seed_same_rollouts_on_one_or_two_workers_or_in_process(local_ray: None, arguments: Arguments) -> None:
    expected = LocalPool(RolloutWorker, *arguments).run(REQUESTS, STATE)
    for n_workers in (1, 2):
        with RayPool(RolloutWorker, *arguments, n_workers=n_workers) as pool:
            for left, right in zip(pool.run(REQUESTS, STATE), expected, strict=True):
                assert_same(left, right)


@pytest.mark.slow
def test_killed_worker_of_sodarace_loses_no_request_and_leaves_no_sandbox(
    local_ray: None, arguments: Arguments
) -> None:
    small, shared = arguments
    small = small | {"make_world": partial(SodaraceWorld, WorldConfig()), "terrains": ["flat", "tunnel", "left_wall"]}
    asked = [replace(request, id=index) for index, request in enumerate(REQUESTS * 4)]
    with LocalPool(RolloutWorker, small, shared) as local:
        expected = local.run(asked, STATE)
    assert {kind for rollouts in expected for row in rollouts.failures for kind in row} - {None}
    with RayPool(RolloutWorker, small, shared, n_workers=2, cpus_per_worker=0.5) as pool:
        pool.wait_ready()
        pool.run(asked[:4], STATE)
        doomed = pool.pids[0]
        assert doomed is not None
        children = psutil.Process(doomed).children(recursive=True)

        def kill_once(rollouts: Rollouts) -> None:
            if rollouts.request_id == 0:
                os.kill(doomed, signal.SIGKILL)

        for left, right in zip(pool.run(asked, STATE, kill_once), expected, strict=True):
            assert_same(left, right)
        assert pool.replacements == 1
    assert children and not psutil.wait_procs(children, timeout=10)[1]


def test_only_requests_that_explore_are_drawn_in_the_way_of_experience(arguments: Arguments) -> None:
    small, shared = arguments
    greedy = GenerationConfig(max_new_tokens=24, do_sample=False)
    worker, plain = RolloutWorker(**small, **shared, experience=greedy), RolloutWorker(**small, **shared)
    request = RolloutRequest(0, 11, ((0, 5),))
    assert worker.generate(request, STATE).programs == plain.generate(request, STATE).programs
    assert len(set(worker.generate(replace(request, explore=True), STATE).programs)) == 1
    assert len(set(plain.generate(replace(request, explore=True), STATE).programs)) > 1


def test_what_a_world_counts_is_said_request_by_request(arguments: Arguments) -> None:
    class Counting(LetterWorld):
        asked = 0

        def score(self, attempts):
            self.asked += len(attempts)
            return super().score(attempts)

        def counters(self):
            return {"attempts": self.asked}

    small, shared = arguments
    worker = RolloutWorker(**small | {"make_world": Counting}, **shared)
    counts = [dict(worker.generate(request, STATE).counts) for request in REQUESTS]
    assert counts == [{"attempts": 5}, {"attempts": 12}, {"attempts": 4}]
    assert RolloutWorker(**small, **shared).generate(REQUESTS[0], STATE).counts == {}
