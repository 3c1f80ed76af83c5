"""Several prompts of a terrain that a network makes: where their kinds lie, and what moves with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distributed.errors import UserError
from distributed.learner.kinds import points_of
from distributed.learner.learner import Learner
from softprompt.rl.archive import CellElite
from terrains.niches import Niches
from tests.distributed.tiny_runs import LETTERS, config, instructions
from tests.distributed.tiny_workers import LetterWorld

GRID = Niches(names=("tall", "wide"), cells=(2, 4), low=(0, 0), high=(10, 10))
TERRAINS = [LetterWorld().terrain(name) for name in LETTERS]


@pytest.fixture(scope="module")
def lm(tiny_lm):
    return tiny_lm[0]


def make(lm, niches=GRID, **settings):
    ten = {"method__prompt_source": "ten", "method__prompts_per_terrain": 2, "ten__hidden": 16}
    run = config(**ten, **{f"method__{name}": value for name, value in settings.items()})
    return Learner(run, lm, instructions(lm), TERRAINS, niches)


def offer(learner, *elites):
    for cell, fitness, ids in elites:
        learner.teachers.archive.add(0, CellElite(ids, fitness, 0, cell, (1.0, 1.0)))
        learner.elites.add(0, ids, fitness)


def test_a_prompt_lies_in_the_middle_of_its_cell_and_without_one_somewhere_of_its_own():
    points = points_of([5, -1, -1, -1, -1, 0], 3, GRID, seed=1)
    assert points.shape == (2, 3, 2) and points.dtype == torch.float32
    assert points[0, 0].tolist() == [0.75, 0.375] and points[1, 2].tolist() == [0.25, 0.125]
    assert torch.equal(points[0, 1], points[1, 1]) and not torch.equal(points[1, 0], points[1, 1])
    assert bool(((points >= 0) & (points <= 1)).all())
    assert torch.equal(points, points_of([5, -1, -1, -1, -1, 0], 3, GRID, seed=1))
    assert not torch.equal(points[1, 0], points_of([-1] * 6, 3, GRID, seed=2**70)[1, 0])


def test_the_kinds_of_prompts_move_with_the_cells_that_they_own(lm):
    learner = make(lm)
    start = learner.source.points.clone()
    torch.testing.assert_close(start[0], start[1], rtol=0, atol=0)
    offer(learner, (3, 2.0, (5, 6)), (4, 1.5, (7, 8)))
    list(learner.warm_start())
    assert learner.teachers.owned == [3, 4, -1, -1]
    assert learner.source.points.tolist() == [[[0.25, 0.875], [0.75, 0.125]], start[1].tolist()]
    before = learner.snapshot()
    offer(learner, (7, 9.0, (9, 10)), (3, 8.0, (11, 12)))
    assert learner._settle() == 1 and learner.teachers.owned == [3, 7, -1, -1]
    after = learner.snapshot()
    changed = (before.state.prompts != after.state.prompts).any(axis=(1, 2))
    assert changed.tolist() == [False, True, False, False]
    for snapshot in (before, after):
        assert np.array_equal(learner.network(snapshot).prompts().detach().numpy(), snapshot.state.prompts)


def test_each_prompt_learns_the_program_of_its_kind_and_a_state_continues_bit_for_bit(lm):
    learner = make(lm, closing_steps=60)
    offer(learner, (3, 2.0, (5, 6, 7)), (4, 1.5, (9, 10)))
    nats = list(learner.warm_start())
    other = make(lm, closing_steps=60)
    other.load_state_dict(learner.state_dict())
    assert torch.equal(other.source.points, learner.source.points)
    ours, theirs = list(learner.imitate_best()), list(other.imitate_best())
    assert ours == theirs and ours[-1] < 0.5 * nats[0]
    assert np.array_equal(learner.prompt_state().prompts, other.prompt_state().prompts)
    with pytest.raises(ValueError, match="prompts of shape"):
        run = config(method__prompt_source="ten", ten__hidden=16)
        Learner(run, lm, instructions(lm), TERRAINS).load_state_dict(learner.state_dict())


def test_a_prompt_of_a_network_that_rests_is_asked_again_as_others_move_it(lm):
    """What each step is made of: both programs, of which one counts while it is not known well enough."""

    def costs(learner):
        batch = learner.teachers.batch(1)
        with torch.no_grad():
            logprobs, _ = learner.policy.evaluate(batch.ids, batch.mask, batch.prompt, None, batch.instruction)
        return -(logprobs * batch.mask).sum(1)

    programs = ((3, 2.0, (5, 6, 7, 8)), (4, 1.5, (9, 10)))
    start = make(lm)
    offer(start, *programs)
    start._settle()
    before = costs(start)
    between = float(before.mean())
    learner = make(lm, closing_steps=300, closing_rests_at=between)
    offer(learner, *programs)
    learner._settle()
    asked, loss = [], learner.imitation._loss
    learner.imitation._loss = lambda batch, *rest: asked.append(len(batch.ids)) or loss(batch, *rest)
    steps = len(list(learner.imitate_best()))
    assert 0 < steps < 300 and set(asked) == {2}
    assert bool((costs(learner) <= between).all())


def test_a_world_without_niches_is_refused_in_words(lm):
    with pytest.raises(UserError, match="method.prompts_per_terrain: it needs descriptors"):
        make(lm, niches=None)
