"""A soft prompt in PEFT's format: what PEFT computes with it is what this project computes, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

from softprompt.models.frozen import FrozenLM
from softprompt.prompts.peft_io import CONFIG_FILE, WEIGHTS_FILE, load_prompt, save_prompt
from tests.softprompt.conftest import tiny_model

pytestmark = pytest.mark.arithmetic

FAMILIES = ("llama", "gpt2", "qwen2")


def our_logits(lm: FrozenLM, rows: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Logits of the tokens behind a prompt, shape (b, l, vocab_size)."""
    inputs = torch.cat([rows.expand(len(ids), -1, -1), lm.embed(ids)], dim=1)
    with torch.no_grad():
        return lm.model(inputs_embeds=inputs).logits


def random_rows(lm: FrozenLM, n: int) -> torch.Tensor:
    return torch.randn(n, lm.d_model, generator=torch.Generator().manual_seed(3)) * lm.embedding.std()


def token_ids(lm: FrozenLM) -> torch.Tensor:
    return torch.randint(3, lm.vocab_size, (2, 9), generator=torch.Generator().manual_seed(4))


@pytest.fixture
def saved(tmp_path: Path, llama: FrozenLM) -> Path:
    """The directory of a prompt of four rows."""
    return save_prompt(tmp_path / "prompt", random_rows(llama, 4), "some/model", llama.model.config)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [1, 5])
def test_peft_logits_are_exactly_ours(family: str, n: int, make_lm, tokenizer, tmp_path: Path) -> None:
    lm, rows = make_lm(family), random_rows(make_lm(family), n)
    save_prompt(tmp_path, rows, None, lm.model.config)
    # PEFT wraps a model of its own, so that it cannot change the one the other tests share.
    theirs = PeftModel.from_pretrained(tiny_model(family, tokenizer).eval(), str(tmp_path))
    ids = token_ids(lm)
    with torch.no_grad():
        logits = theirs(input_ids=ids).logits
    assert torch.equal(logits, our_logits(lm, rows, ids))


def test_what_was_saved_is_read_back_exactly(saved: Path, llama: FrozenLM) -> None:
    prompt = load_prompt(saved)
    assert torch.equal(prompt.rows, random_rows(llama, 4)) and prompt.base_model == "some/model"


def test_rows_of_a_table_are_saved_alone(tmp_path: Path, prompts: torch.Tensor) -> None:
    save_prompt(tmp_path, prompts[1], None)
    assert load_file(tmp_path / WEIGHTS_FILE)["prompt_embeddings"].shape == prompts[1].shape


def test_prompt_trained_by_peft_loads_here_with_equal_logits(llama: FrozenLM, tokenizer, tmp_path: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=6)
    theirs = get_peft_model(tiny_model("llama", tokenizer), config)
    optimizer = torch.optim.Adam([p for p in theirs.parameters() if p.requires_grad], lr=0.1)
    ids = token_ids(llama)
    before = theirs.get_prompt(batch_size=1).detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        theirs(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    theirs.eval().save_pretrained(str(tmp_path))
    rows = load_prompt(tmp_path).rows
    assert rows.shape == (6, llama.d_model) and not torch.equal(rows, before[0])
    with torch.no_grad():
        assert torch.equal(our_logits(llama, rows, ids), theirs(input_ids=ids).logits)


def test_directory_is_what_peft_writes(saved: Path, tokenizer, tmp_path: Path) -> None:
    theirs = get_peft_model(
        tiny_model("llama", tokenizer), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    )
    theirs.save_pretrained(str(tmp_path / "theirs"))
    expected = json.loads((tmp_path / "theirs" / CONFIG_FILE).read_text())
    expected["base_model_name_or_path"] = "some/model"
    assert json.loads((saved / CONFIG_FILE).read_text()) == expected
    ours, others = load_file(saved / WEIGHTS_FILE), load_file(tmp_path / "theirs" / WEIGHTS_FILE)
    assert {k: (v.dtype, v.shape) for k, v in ours.items()} == {k: (v.dtype, v.shape) for k, v in others.items()}


def rewrite_config(folder: Path, **changed: object) -> None:
    file = folder / CONFIG_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def break_lora(folder: Path) -> None:
    rewrite_config(folder, peft_type="LORA")


def break_task(folder: Path) -> None:
    rewrite_config(folder, task_type="SEQ_2_SEQ_LM")


def break_size(folder: Path) -> None:
    rewrite_config(folder, num_virtual_tokens=9)


def break_config(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text("{")


def break_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"not safetensors")


def break_name(folder: Path) -> None:
    save_file({"lora_A": torch.zeros(4, 32)}, folder / WEIGHTS_FILE)


def break_numbers(folder: Path) -> None:
    save_file({"prompt_embeddings": torch.full((4, 32), torch.nan)}, folder / WEIGHTS_FILE)


def pickle_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_lora, "is LORA, and a soft prompt is PROMPT_TUNING"),
        (break_task, "is for SEQ_2_SEQ_LM, not for a causal language model"),
        (break_size, r"has shape \(4, 32\), its adapter_config.json says \(9, 32\)"),
        (break_config, "cannot read .*adapter_config.json"),
        (break_weights, "cannot read .*adapter_model.safetensors"),
        (break_name, "it has no tensor prompt_embeddings"),
        (break_numbers, "not finite"),
        (pickle_weights, "pickled and not read"),
    ],
)
def test_what_is_no_prompt_is_refused_in_one_line(saved: Path, damage, words: str) -> None:
    damage(saved)
    with pytest.raises(ValueError, match=words) as refusal:
        load_prompt(saved)
    assert "\n" not in str(refusal.value)


def test_missing_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no directory"):
        load_prompt(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no adapter_config.json"):
        load_prompt(tmp_path)


@pytest.mark.parametrize("rows", [torch.zeros(4), torch.zeros(0, 8), torch.full((2, 8), torch.inf)])
def test_what_is_no_prompt_is_not_saved(rows: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        save_prompt(tmp_path / "prompt", rows, None)
    assert not (tmp_path / "prompt").exists()
