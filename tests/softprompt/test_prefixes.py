"""Invariants of the prefixes of Stage 2."""

import itertools

import torch

from softprompt.prefixes import PrefixConfig, Slot, TunedPrefixes

EMBEDDING = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
COUNTS = torch.tensor([0, 0, 0, 5, 9, 1, 4, 7, 0, 2, 2, 3])
ALL = PrefixConfig(none=0.0, slots=2, visits=3, max_rows=9)


def batches():
    return ([[i, i + 1], [i]] for i in itertools.count())


def test_a_slot_keeps_its_programs_for_its_visits_and_is_then_replaced():
    prefixes = TunedPrefixes(EMBEDDING, COUNTS, ALL, seed=1)
    source, seen = batches(), {}
    for _ in range(200):
        programs, slot = prefixes.next(source)
        assert slot.programs is programs and slot.left > 0
        seen.setdefault(id(slot), (slot, []))[1].append(programs[0][0])
        slot.rows.grad = torch.ones_like(slot.rows)
        slot.tune()
    assert len(seen) > 20
    assert all(len(set(firsts)) == 1 and len(firsts) <= 5 for _, firsts in seen.values())


def test_tuning_moves_the_rows_against_their_gradient_whatever_its_size():
    moved = []
    for size in (1e-7, 1.0):
        slot = Slot([[1]], torch.zeros(1, 2, 6), lr=0.1, visits=3)
        slot.rows.grad = torch.full((1, 2, 6), size)
        slot.tune()
        moved.append(slot.rows.detach().clone())
    assert torch.all(moved[1] < 0)
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-4, atol=1e-6)


def test_an_untrained_prefix_uses_only_tokens_of_the_corpus_or_no_token_at_all():
    prefixes = TunedPrefixes(EMBEDDING, COUNTS, ALL, seed=3)
    unused = EMBEDDING[COUNTS == 0]
    for _ in range(50):
        rows = prefixes.untrained(3, 5)
        assert rows.shape == (3, 5, 6)
        assert torch.cdist(rows.flatten(0, 1), unused).min() > 0


def test_untrained_prefixes_do_not_pass_gradients_into_the_embedding():
    embedding = EMBEDDING.clone().requires_grad_()
    prefixes = TunedPrefixes(embedding, COUNTS, ALL, seed=3)
    assert not any(prefixes.untrained(2, 3).requires_grad for _ in range(20))


def test_the_share_without_prefix_is_kept_and_the_same_seed_draws_the_same():
    config = PrefixConfig(none=0.5, slots=2, visits=2)
    drawn = []
    for _ in range(2):
        prefixes, source = TunedPrefixes(EMBEDDING, COUNTS, config, seed=5), batches()
        steps = []
        for _ in range(300):
            programs, slot = prefixes.next(source)
            steps.append((programs[0][0], None if slot is None else slot.rows.sum().item()))
            if slot:
                slot.rows.grad = torch.zeros_like(slot.rows)
                slot.tune()
        drawn.append(steps)
    assert drawn[0] == drawn[1]
    assert 100 < sum(rows is None for _, rows in drawn[0]) < 200
