"""Training the top of the language model: what is copied, what is shared, what changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import UnfrozenLM, top_layers
from tests.accuracy import assert_as_accurate
from tests.softprompt.exact import doubled, one_by_one

pytestmark = pytest.mark.arithmetic

FAMILIES = ("llama", "gpt2", "qwen2")
CHOICES = (1, 2, -1)


def batch(lm: FrozenLM) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prompts, ids and mask of three programs."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 200, (3, 7), generator=generator)
    prompts = lm.embedding[torch.randint(5, 200, (3, 2), generator=generator)]
    return prompts, ids, torch.arange(7) < torch.tensor([7, 4, 6])[:, None]


def unfrozen(lm: FrozenLM, n: int) -> UnfrozenLM:
    return UnfrozenLM(lm, top_layers(lm.model, n))


def logprobs(lm: FrozenLM, prompted: bool = True) -> torch.Tensor:
    prompts, ids, mask = batch(lm)
    return evaluate(lm, prompts if prompted else None, [(3, 4)] * 3, ids, mask)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_top_blocks_are_those_next_to_the_head(make_lm, family):
    lm = make_lm(family)
    one, two, everything = (top_layers(lm.model, n) for n in CHOICES)
    assert set(one) < set(two) < set(everything) == {name for name, _ in lm.model.named_parameters()}
    assert one and all(".1." in name for name in one)
    assert all(".0." in name or ".1." in name for name in two)


def test_more_layers_than_there_are_is_refused_in_words(llama):
    with pytest.raises(ValueError, match="3 layers are to be trained, and the language model has 2"):
        top_layers(llama.model, 3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", CHOICES)
def test_before_training_it_is_the_frozen_model_to_the_bit(make_lm, family, n):
    lm = make_lm(family)
    policy = unfrozen(lm, n)
    with torch.no_grad():
        for prompted in (True, False):
            assert torch.equal(logprobs(policy, prompted), logprobs(lm, prompted))
    assert policy.hash == lm.hash


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", CHOICES)
def test_only_what_is_trained_is_copied_and_only_that_changes(make_lm, family, n):
    lm = make_lm(family)
    before, hashed = {name: p.clone() for name, p in lm.model.named_parameters()}, lm.hash
    policy = unfrozen(lm, n)
    ours, theirs = dict(policy.model.named_parameters()), dict(lm.model.named_parameters())
    assert all((ours[name] is theirs[name]) == (name not in policy.trained) for name in theirs)
    optimizer = torch.optim.SGD(policy.trained.values(), lr=0.1)
    start = logprobs(policy).detach()
    (-logprobs(policy).sum()).backward()
    optimizer.step()
    assert lm.hash == hashed and all(p.grad is None and not p.requires_grad for p in theirs.values())
    changed = {name for name, p in ours.items() if not torch.equal(p, before[name])}
    # A key's bias moves all scores of a query alike, which softmax does not see.
    assert {name for name in policy.trained if "k_proj.bias" not in name} <= changed <= set(policy.trained)
    assert logprobs(policy).sum() > start.sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_the_whole_model_are_those_of_transformers(make_lm, family):
    policy = unfrozen(make_lm(family), -1)
    prompts, ids, mask = batch(policy)
    found = []
    for read, of in ((evaluate, policy), (one_by_one, policy), (one_by_one, doubled(policy))):
        parameters = {name: p.requires_grad_() for name, p in of.model.named_parameters()}
        logprobs, _ = read(of, prompts, [(3, 4)] * 3, ids, mask)
        found.append(dict(zip(parameters, torch.autograd.grad(logprobs.sum(), parameters.values()), strict=True)))
    assert found[0].keys() == policy.trained.keys()
    # A key's bias has no gradient but that of rounding, which the scale of all gradients is the measure of.
    ours, theirs, exact = (torch.cat([gradient.flatten() for gradient in of.values()]) for of in found)
    assert_as_accurate(ours, theirs, exact)
    for name, gradient in found[2].items():
        if "k_proj.bias" not in name:
            assert_as_accurate(found[0][name], found[1][name], gradient)


@pytest.mark.parametrize("n", CHOICES)
def test_weights_travel_as_arrays_and_make_an_equal_policy(llama, n):
    first, second = unfrozen(llama, n), unfrozen(llama, n)
    with torch.no_grad():
        for p in first.trained.values():
            p += 0.1
    assert not torch.equal(logprobs(first), logprobs(second))
    weights = first.weights()
    second.load_weights(weights)
    assert first.hash == second.hash and torch.equal(logprobs(first), logprobs(second))
    next(iter(weights.values()))[:] = 0
    assert first.hash == second.hash
    with pytest.raises(ValueError, match="not those of the layers"):
        second.load_weights({"nothing": np.zeros(3)})


def test_layers_of_a_model_in_shared_memory_are_copied_out_of_it(llama):
    exported = llama.export()
    for array in exported["weights"].values():
        array.flags.writeable = False
    policy = unfrozen(FrozenLM.from_weights(**exported), 1)
    with torch.no_grad():
        for p in policy.trained.values():
            p.zero_()
    assert all((exported["weights"][name] != 0).any() for name in policy.trained)
