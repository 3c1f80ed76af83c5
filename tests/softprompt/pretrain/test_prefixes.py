"""Invariants of the prefixes of Stage 2."""

import itertools
import random

import pytest
import torch

from softprompt.pretrain import hint_prefixes as hint_rows
from softprompt.pretrain.prefixes import PrefixConfig, Slot, TunedPrefixes
from tests.accuracy import assert_rounded

pytestmark = pytest.mark.arithmetic

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
    for size in (1e-7, 1.0):
        slot = Slot([[1]], torch.zeros(1, 2, 6), lr=0.1, visits=3)
        slot.rows.grad = torch.full((1, 2, 6), size)
        slot.tune()
        # Adam's first step is the rate times g / (|g| + 1e-12).
        assert_rounded(slot.rows, torch.full((1, 2, 6), -0.1 * size / (size + 1e-12), dtype=torch.float64), ulps=16)


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


def test_without_hinted_steps_every_draw_is_what_it_was_before_there_were_hints():
    """A training that began then goes on; these draws were noted then."""
    noted = [(1, 9), (2, 4), (3, 0), (4, 0), (5, 9), (6, 0), (0, 9), (7, 0), (8, 0), (0, 9), (9, 0), (0, 9), (10, 0)]
    config = PrefixConfig(none=0.3, untrained=0.3, slots=2, visits=2, max_rows=9)
    for hints in (None, {(i, i + 1): [3, 4] for i in range(20)}):
        prefixes, source = TunedPrefixes(EMBEDDING, COUNTS, config, seed=5, hints=hints), batches()
        drawn = []
        for _ in noted:
            programs, slot = prefixes.next(source)
            drawn.append((programs[0][0], slot.rows.shape[1] if slot else 0))
            if slot:
                slot.left -= 1
        assert drawn == noted
        assert set(prefixes.state_dict()) == {"random", "generator", "slots"}


def test_the_rows_of_a_hinted_batch_come_each_from_its_own_hint(monkeypatch):
    for name in ("SHUFFLED", "NOISY", "SCALED"):
        monkeypatch.setattr(hint_rows, name, 0.0)
    config = PrefixConfig(none=0.0, untrained=0.0, hinted=1.0, max_rows=9)
    hints = {(0, 1): [3, 4, 5], (0,): [6, 7], (7, 8): [9], (7,): list(range(3, 12)) * 3}
    prefixes = TunedPrefixes(EMBEDDING, COUNTS, config, seed=6, hints=hints)
    for _ in range(30):
        for batch in ([[0, 1], [0]], [[7], [7, 8]]):
            programs, slot = prefixes.next(iter([batch]))
            assert programs is batch and slot.left == 1
            for program, rows in zip(batch, slot.rows.detach(), strict=True):
                own = EMBEDDING[hints[tuple(program)]]
                assert (rows[:, None] == own).all(dim=2).any(dim=1).all()


def test_hinted_prefixes_come_with_fresh_programs_in_their_share_and_nothing_flows_into_the_embedding():
    embedding = EMBEDDING.clone().requires_grad_()
    hints = {(i, i + 1): [9, 10] for i in range(0, 1000)}
    config = PrefixConfig(none=0.5, untrained=0.1, hinted=0.4, max_rows=9)
    prefixes, source = TunedPrefixes(embedding, COUNTS, config, seed=6, hints=hints), batches()
    steps = [prefixes.next(source) for _ in range(300)]
    assert [programs[0][0] for programs, _ in steps] == list(range(300))
    assert 120 < sum(slot is not None for _, slot in steps) < 180
    for _, slot in steps:
        if slot:
            slot.rows.sum().backward()
    assert embedding.grad is None


def test_a_program_without_a_hint_gets_common_tokens():
    prefixes = TunedPrefixes(EMBEDDING, COUNTS, PrefixConfig(none=0.0, untrained=0.0, hinted=1.0), seed=6, hints={})
    assert prefixes.hinted([[1, 2], [3]], 5).shape == (2, 5, 6)


def test_a_hint_fits_any_number_of_rows_in_its_own_order():
    for rows in range(1, 30):
        for seed in range(5):
            found = hint_rows.copied(range(12), rows, random.Random(seed))
            assert len(found) == rows and found == sorted(found)
    assert hint_rows.copied([4, 2], 4, random.Random(0)) == [4, 4, 2, 2]


def test_disturbing_keeps_shapes_and_changes_some_batches_in_every_way_and_leaves_most_of_them():
    rows, rng, generator = EMBEDDING.unflatten(0, (2, 6)), random.Random(0), torch.Generator().manual_seed(0)
    seen = [hint_rows.disturbed(rows, rng, generator) for _ in range(100)]
    same = sum(torch.equal(rows, each) for each in seen)
    shuffled = sum(
        not torch.equal(rows, each) and torch.equal(rows.sort(dim=1).values, each.sort(dim=1).values) for each in seen
    )
    norms = [each.norm() / rows.norm() for each in seen]
    assert all(each.shape == rows.shape for each in seen)
    assert 35 < same < 70 and shuffled > 3 and min(norms) < 0.9 and max(norms) > 1.1


def test_shares_with_hints_are_all_of_the_steps_at_most():
    assert PrefixConfig(none=0.35, untrained=0.26, hinted=0.39).hinted == 0.39
    with pytest.raises(ValueError, match="none 0.35, untrained 0.15, hinted 0.6 .* at most 1 together"):
        PrefixConfig(hinted=0.6)
