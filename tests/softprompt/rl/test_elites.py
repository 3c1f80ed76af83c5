from __future__ import annotations

import json

import pytest
import torch

from softprompt.logprobs.evaluate import evaluate
from softprompt.prompts.table import SoftPromptTable
from softprompt.rl.elites import EliteBuffer, likelihood_loss


def test_the_best_distinct_programs_stay():
    buffer = EliteBuffer(n_terrains=2, k=2)
    assert buffer.add(0, [1, 2], 5.0)
    assert not buffer.add(0, [1, 2], 5.0)
    assert buffer.add(0, [3], 1.0)
    assert buffer.add(0, [4, 5, 6], 7.0)
    assert not buffer.add(0, [9], 4.0)
    assert [(elite.ids, elite.fitness) for elite in buffer.best(0)] == [((4, 5, 6), 7.0), ((1, 2), 5.0)]
    assert buffer.best(1) == () and len(buffer) == 2


def test_a_known_program_keeps_its_higher_fitness():
    buffer = EliteBuffer(1, 3)
    buffer.add(0, [1], 2.0)
    buffer.add(0, [2], 3.0)
    assert not buffer.add(0, [1], 1.0)
    assert buffer.add(0, [1], 4.0)
    assert [(elite.ids, elite.fitness) for elite in buffer.best(0)] == [((1,), 4.0), ((2,), 3.0)]


def test_of_equally_good_programs_the_first_stays():
    buffer = EliteBuffer(1, 1)
    buffer.add(0, [1], 2.0)
    assert not buffer.add(0, [2], 2.0)
    assert buffer.best(0)[0].ids == (1,)


def test_a_program_without_tokens_is_no_elite():
    assert not EliteBuffer(1, 1).add(0, [], 3.0)


def test_batch_pads_what_the_buffer_holds():
    buffer = EliteBuffer(3, 2)
    buffer.add(2, [1, 2, 3], 1.0)
    buffer.add(2, [4], 2.0)
    buffer.add(0, [5, 6], 3.0)
    batch = buffer.batch()
    assert batch.ids.tolist() == [[5, 6, 0], [4, 0, 0], [1, 2, 3]]
    assert batch.mask.sum(1).tolist() == [2, 1, 3]
    assert batch.prompt.tolist() == [0, 2, 2]
    assert batch.fitness.tolist() == [3.0, 2.0, 1.0]
    assert buffer.batch(terrains=[2], best=1).ids.tolist() == [[4]]
    assert buffer.batch(terrains=[1]).ids.shape == (0, 0)


def test_saved_and_restored_buffer_goes_on_alike():
    buffer = EliteBuffer(2, 2)
    buffer.add(0, [1, 2], 5.5)
    buffer.add(1, [3], 1.0)
    restored = EliteBuffer(2, 2)
    restored.load_state_dict(json.loads(json.dumps(buffer.state_dict())))
    assert [restored.best(t) for t in range(2)] == [buffer.best(t) for t in range(2)]
    assert restored.add(0, [7], 9.0) == buffer.add(0, [7], 9.0)
    assert restored.best(0) == buffer.best(0)


def test_wrong_sizes_are_told():
    with pytest.raises(ValueError, match="at least 1 program"):
        EliteBuffer(1, 0)
    with pytest.raises(ValueError, match="elites of 1 terrains do not fit a buffer of 2"):
        EliteBuffer(2, 1).load_state_dict(EliteBuffer(1, 1).state_dict())


def test_likelihood_loss_is_nats_per_real_token():
    logprobs = torch.tensor([[-1.0, -2.0, -9.0], [-3.0, -9.0, -9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert likelihood_loss(logprobs, mask).item() == 2.0


def test_adam_on_the_likelihood_of_elites_makes_each_terrain_write_its_own(llama):
    buffer = EliteBuffer(2, 1)
    buffer.add(0, [20, 21, 22, 23], 1.0)
    buffer.add(1, [40, 41, 42], 1.0)
    batch = buffer.batch()
    initial = torch.randn(2, 4, llama.d_model, generator=torch.Generator().manual_seed(0)) * llama.embedding.std()
    table = SoftPromptTable(initial)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.05)
    instruction = torch.tensor([5, 9])
    losses = []
    for _ in range(60):
        logprobs, _ = evaluate(llama, table(batch.prompt), instruction, batch.ids, batch.mask)
        loss = likelihood_loss(logprobs, batch.mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        swapped, _ = evaluate(llama, table(1 - batch.prompt), instruction, batch.ids, batch.mask)
    assert likelihood_loss(swapped, batch.mask).item() > 2 * losses[-1]


def test_elites_take_turns_so_that_each_is_learnt_equally_often():
    buffer = EliteBuffer(2, 5)
    for k in range(5):
        buffer.add(0, [k], 10.0 - k)
    buffer.add(1, [9], 1.0)
    batch = buffer.batch()
    turns = [batch.in_turn(step, 2) for step in range(4)]
    assert [turn.ids.flatten().tolist() for turn in turns] == [[0, 3, 9], [1, 4, 9], [2, 9], [0, 3, 9]]
    assert [turn.fitness.tolist() for turn in turns][1] == [9.0, 6.0, 1.0]
    assert batch.in_turn(3, None) is batch
    assert batch.in_turn(7, 5).ids.tolist() == batch.ids.tolist()
    assert buffer.batch(terrains=[]).in_turn(0, 2).ids.shape[0] == 0
