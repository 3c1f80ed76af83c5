"""The table of prompts and its gradients."""

from __future__ import annotations

import pytest
import torch

from softprompt.prompts.table import SoftPromptTable
from tests.accuracy import assert_rounded
from tests.softprompt.chance import chance

pytestmark = pytest.mark.arithmetic


def test_a_table_gives_each_terrain_its_own_rows_and_only_those_get_gradients():
    table = SoftPromptTable(torch.randn(3, 4, 8))
    chosen = table(torch.tensor([2, 0, 2]))
    assert torch.equal(chosen[0], table.prompts()[2]) and chosen.shape == (3, 4, 8)
    chosen.sum().backward()
    norms = table.weight.grad.flatten(1).norm(dim=1)
    assert_rounded(norms, [32**0.5, 0, 2 * 32**0.5])


def test_gradients_are_the_same_bit_for_bit_on_several_threads():
    table, index = SoftPromptTable(torch.randn(3, 20, 64, generator=chance())), torch.arange(96) % 3
    weights = torch.randn(96, 20, 64, generator=chance(1))
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        loss = [(table(index) * weights).sum() for _ in range(100)]
        gradients = {torch.autograd.grad(each, table.weight)[0].numpy().tobytes() for each in loss}
    finally:
        torch.set_num_threads(before)
    assert len(gradients) == 1


def test_a_table_is_a_copy_of_its_initial_value():
    initial = torch.zeros(1, 2, 8)
    table = SoftPromptTable(initial)
    initial += 1
    assert table.prompts().abs().sum() == 0
