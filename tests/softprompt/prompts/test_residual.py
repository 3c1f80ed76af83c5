"""Residual reparameterisation: plain prompts at the start, plain prompts at the end."""

from __future__ import annotations

import torch

from softprompt.prompts.residual import ResidualPrompts
from softprompt.prompts.table import SoftPromptTable


def rows() -> torch.Tensor:
    return torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))


def test_at_the_start_every_prompt_is_its_row():
    assert torch.equal(ResidualPrompts(rows(), 4).prompts(), rows())


def test_rows_and_network_both_learn_and_the_network_is_one_for_all_terrains():
    source = ResidualPrompts(rows(), 16)
    optimizer = torch.optim.SGD(source.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        source(torch.tensor([1])).square().sum().backward()
        optimizer.step()
    assert torch.equal(source.rows[0], rows()[0]) and not torch.equal(source.rows[1], rows()[1])
    assert all(bool((p.grad != 0).any()) for p in source.parameters())
    # Terrain 0 had no gradient of its own; it moves with the network that it shares.
    assert not torch.equal(source.prompts()[0], rows()[0])


def test_what_is_handed_out_is_plain_prompts():
    source = ResidualPrompts(rows(), 4)
    torch.nn.init.ones_(source.norm.weight)
    plain = SoftPromptTable(source.prompts())
    assert torch.equal(plain.prompts(), source.prompts())
    assert source.n_soft_tokens == 3
