"""Invariants of the prefixes of Stage 2."""

import itertools

import pytest
import torch

from softprompt.prefixes import PrefixConfig, Slot, TunedPrefixes

EMBEDDING = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
COUNTS = torch.tensor([0, 0, 0, 5, 9, 1, 4, 7, 0, 2, 2, 3])
ALL = PrefixConfig(none=0.0, untrained=0.0, slots=2, visits=3, max_rows=9)


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
    config = PrefixConfig(none=0.5, untrained=0.2, slots=2, visits=2)
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


def test_untrained_prefixes_come_with_fresh_programs_in_their_share_and_in_every_size():
    prefixes, source = TunedPrefixes(EMBEDDING, COUNTS, PrefixConfig(none=0.0, untrained=1.0, max_rows=9), 6), batches()
    steps = [prefixes.next(source) for _ in range(100)]
    assert [programs[0][0] for programs, _ in steps] == list(range(100))
    assert {slot.rows.shape[1] for _, slot in steps} == set(range(1, 10))


def test_no_prefix_is_born_from_a_special_token():
    prefixes = TunedPrefixes(EMBEDDING, COUNTS, ALL, seed=7, special_ids=(4,))
    assert torch.cdist(prefixes.from_vocabulary(20, 9).flatten(0, 1), EMBEDDING[4:5]).min() > 0


def test_shares_of_more_than_all_are_refused():
    with pytest.raises(ValueError, match="at most 1 together"):
        PrefixConfig(none=0.7, untrained=0.4)
