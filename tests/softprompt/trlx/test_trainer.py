"""Prompts trained by trlx itself; skipped where it is not installed, and run by `make test-trlx TRLX_SRC=...`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

if find_spec("trlx") is None:  # not importorskip: without repairs trlx cannot be imported even where it is installed
    pytest.skip("trlx is not installed; `make test-trlx TRLX_SRC=...` runs this on a clone", allow_module_level=True)

from softprompt.logprobs.evaluate import evaluate  # noqa: E402
from softprompt.trlx.registration import PIPELINE, TRAINER, register  # noqa: E402
from tests.softprompt.conftest import tiny_model  # noqa: E402

TERRAINS = ("a", "e")
FAMILIES = ("gpt2", "llama", "llama-grouped")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's directory: GPT-2's family and Llama's, heads tied and untied."""
    path = tmp_path_factory.mktemp(request.param, numbered=False)
    tiny_model(request.param, tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def settings(model: Path, folder: Path, **trainer: Any) -> Any:
    register()
    from trlx.data.default_configs import default_ppo_config

    config = default_ppo_config()
    return config.evolve(
        train={
            "trainer": TRAINER,
            "pipeline": PIPELINE,
            "trainer_kwargs": {"terrains": TERRAINS, "n_soft_tokens": 3, **trainer},
            "tracker": None,
            "checkpoint_dir": str(folder),
            "save_optimizer": False,
            "save_best": False,
            "seq_length": 40,
            "batch_size": 8,
            "total_steps": 4,
            "epochs": 2,
            "eval_interval": 2,
            "checkpoint_interval": 100,
        },
        model={"model_path": str(model)},
        tokenizer={"tokenizer_path": str(model)},
        optimizer={"name": "adam", "kwargs": {"lr": 0.05, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0}},
        method={
            "ppo_epochs": 2,
            "num_rollouts": 8,
            "chunk_size": 8,
            "gen_kwargs": {"max_new_tokens": 8, "top_k": 0, "top_p": 1.0, "do_sample": True},
        },
    )


def prompts() -> list[dict[str, Any]]:
    return [{"prompt": "import math\n", "terrain": name} for name in TERRAINS for _ in range(4)]


def trained(model: Path, folder: Path, **trainer: Any) -> tuple[Any, list[list[str]]]:
    config = settings(model, folder, **trainer)
    import trlx

    told: list[list[str]] = []

    def reward(samples: list[str], outputs: list[str], terrain: list[str], **_: Any) -> list[float]:
        told.append(terrain)
        assert all(sample.startswith("import math\n") for sample in samples)
        return [float(output.count(name)) for output, name in zip(outputs, terrain, strict=True)]

    return trlx.train(reward_fn=reward, prompts=prompts(), config=config), told


def test_only_prompts_and_the_value_head_move_and_each_step_has_every_terrain(model, tmp_path):
    first = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1))
    trainer, told = trained(model, tmp_path, first=first, evaluates=False)
    assert [sorted(names) for names in told] == [["a"] * 4 + ["e"] * 4] * 2
    moved = (trainer.prompts - first).abs().amax(dim=(1, 2))
    assert (moved > 0.01).all() and torch.isfinite(trainer.prompts).all()
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained(model).get_output_embeddings().weight
    assert torch.equal(trainer.policy.base_model.get_output_embeddings().weight, before)
    saved = load_file(next(tmp_path.glob("checkpoint_*")) / "hf_model" / "prompts.safetensors")
    assert torch.equal(torch.stack([saved[name] for name in TERRAINS]), trainer.prompts)


def test_layers_that_would_be_trained_are_one_line(model, tmp_path, caplog):
    before = settings(model, tmp_path, evaluates=False)
    config = before.evolve(model={"num_layers_unfrozen": 2}, train={"total_steps": 1, "epochs": 1})
    import trlx

    trainer = trlx.train(reward_fn=lambda outputs, **_: [1.0] * len(outputs), prompts=prompts(), config=config)
    assert [line for line in caplog.messages if "num_layers_unfrozen" in line] == [
        "model.num_layers_unfrozen is 2 and ignored: prompts are trained, and no layer of the language model"
    ]
    moving = {name for name, each in trainer.policy.named_parameters() if each.requires_grad}
    assert all(name.startswith("v_head.") or name.endswith(".rows") for name in moving), moving


def test_trlx_evaluates_with_prompts_of_the_terrains(model, tmp_path):
    trainer, told = trained(model, tmp_path)
    assert trainer.nth_evaluation == 3 and len(told) == 5


@torch.no_grad()
def test_policy_and_reference_say_what_ours_say(model, tmp_path, make_lm):
    """The same log-probabilities as the project's own reading of prompt, instruction and program."""
    lm = make_lm(model.name)
    first = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1))
    register()
    from softprompt.trlx.policy import PromptedPolicy

    policy = PromptedPolicy.from_pretrained(str(model)).attach(first).eval()
    instruction = tuple(lm.tokenizer("import math\n", add_special_tokens=False)["input_ids"])
    ids = torch.randint(5, 200, (2, 6), generator=torch.Generator().manual_seed(2))
    soft = torch.arange(6).reshape(2, 3) + lm.vocab_size
    padding = torch.full((2, 2), lm.tokenizer.pad_token_id)
    whole = torch.cat([padding, soft, torch.tensor([instruction] * 2), ids], dim=1)
    mask = (whole != lm.tokenizer.pad_token_id).long()
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    start = whole.shape[1] - ids.shape[1]
    for prompts, ask in ((first, policy), (None, policy.forward_hydra)):
        logits = ask(whole, attention_mask=mask, position_ids=positions, return_dict=True).logits
        assert (logits[..., lm.vocab_size :] == -1e4).all()
        found = logits[:, start - 1 : -1].log_softmax(-1).gather(2, ids[..., None])[..., 0]
        ours, _ = evaluate(lm, prompts, [instruction] * 2, ids, torch.ones_like(ids, dtype=torch.bool))
        torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-4)


def test_the_divergence_is_of_outputs_alone(model, tmp_path):
    register()
    from softprompt.trlx.policy import PromptedPolicy

    policy = PromptedPolicy.from_pretrained(str(model)).attach(torch.randn(1, 3, 32)).eval()
    ids = torch.tensor([[264, 265, 266, 7, 8, 9, 10]])
    with torch.no_grad(), policy.divergence_of_outputs():
        policy.outputs_from(5)
        own, *_ = policy(ids, attention_mask=torch.ones_like(ids))
        reference = policy.forward_hydra(ids, torch.ones_like(ids)).logits
    assert torch.equal(own[:, :4], reference[:, :4]) and not torch.equal(own[:, 4:], reference[:, 4:])
    with torch.no_grad():
        assert policy(ids, return_dict=True).logits[:, :4].any()
