"""Language models that are PEFT's adapters on another one: they compute what PEFT computes, as one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from softprompt.models.frozen import FrozenLM
from softprompt.prompts.peft_io import save_prompt
from tests.accuracy import assert_as_accurate
from tests.softprompt.conftest import VOCAB

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft.*")

CAUSAL = {"task_type": "CAUSAL_LM"}
LORA = {**CAUSAL, "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
CONFIGS = {
    "LoRA": LoraConfig(**LORA),
    "LoRA of rsLoRA's scale": LoraConfig(**LORA, use_rslora=True),
    "DoRA": LoraConfig(**LORA, use_dora=True),
    "biases": LoraConfig(**LORA, bias="lora_only"),
    "a head of its own": LoraConfig(**LORA, modules_to_save=["lm_head"]),
    "an embedding of its own": LoraConfig(**LORA, modules_to_save=["embed_tokens"]),
    "both as one": LoraConfig(**LORA, modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    "LoRA of the embedding": LoraConfig(**CAUSAL, r=4, target_modules=["embed_tokens", "v_proj"]),
    "IA3": IA3Config(**CAUSAL, target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
}


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(llama, tmp_path, request) -> Path:
    """A language model's directory; its tokenizer lies there too."""
    model = FrozenLM.from_weights(**llama.export()).model
    if not request.param:
        weight = torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(3)) * 0.25
        model.lm_head.weight = torch.nn.Parameter(weight)
        model.config.tie_word_embeddings = False
    model.save_pretrained(tmp_path / "base")
    llama.tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def train(config, base: Path, folder: Path, rows: int = VOCAB) -> PeftModel:
    """A random adapter, saved, as it would be after training; it has changed all that it may change."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if rows != VOCAB:
        model.resize_token_embeddings(rows, mean_resizing=False)
    adapted = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=generator) * 0.1
    adapted.save_pretrained(str(folder))
    return adapted.eval()


def logits_of(model: PreTrainedModel | PeftModel, highest: int = VOCAB) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, highest, 9)[None]).logits


@pytest.mark.arithmetic
@pytest.mark.parametrize("kind", CONFIGS)
def test_an_adapters_directory_is_its_language_model_with_the_adapter(base, tmp_path, kind, llama):
    adapted = train(CONFIGS[kind], base, tmp_path / "adapter")
    before = torch.get_rng_state()
    lm = FrozenLM.load(tmp_path / "adapter")
    assert torch.equal(before, torch.get_rng_state())
    theirs, exact = logits_of(adapted), logits_of(adapted.double())
    assert_as_accurate(logits_of(lm.model), theirs, exact, ulps=32)
    assert (logits_of(lm.model) - logits_of(FrozenLM.load(base).model)).abs().max() > 0.05
    assert not [name for name, _ in lm.model.named_modules() if "lora" in name or "base_layer" in name]
    assert lm.tokenizer("def 12").input_ids == llama.tokenizer("def 12").input_ids
    copied = FrozenLM.from_weights(**lm.export())
    assert copied.hash == lm.hash and torch.equal(logits_of(copied.model), logits_of(lm.model))


@pytest.mark.arithmetic
def test_tokens_that_were_added_for_an_adapter_have_their_rows(base, tmp_path):
    adapted = train(LoraConfig(**LORA), base, tmp_path / "adapter", VOCAB + 3)
    lm = FrozenLM.load(tmp_path / "adapter")
    assert lm.vocab_size == VOCAB + 3 == lm.model.config.vocab_size
    theirs, exact = logits_of(adapted, VOCAB + 3), logits_of(adapted.double(), VOCAB + 3)
    assert_as_accurate(logits_of(lm.model, VOCAB + 3), theirs, exact, ulps=32)
    assert FrozenLM.from_weights(**lm.export()).hash == lm.hash


def test_an_adapter_may_lie_on_another_name_its_model_by_a_path_and_bring_a_tokenizer(base, tmp_path, llama):
    train(LoraConfig(**LORA), base, tmp_path / "first")
    train(LoraConfig(**LORA), base, tmp_path / "second")
    name_base(tmp_path / "second", "../first")
    llama.tokenizer.save_pretrained(tmp_path / "second")
    (base / "token_counts.json").write_text("[1, 2]")
    twice, once = FrozenLM.load(tmp_path / "second"), FrozenLM.load(tmp_path / "first")
    assert len({twice.hash, once.hash, FrozenLM.load(base).hash}) == 3
    assert twice.token_counts[:3].tolist() == [1, 2, 0]
    name_base(tmp_path / "first", str(tmp_path / "second"))
    with pytest.raises(ValueError, match="is one on itself"):
        FrozenLM.load(tmp_path / "second")


def test_an_adapter_is_merged_in_float32_and_then_rounded(base, tmp_path):
    train(LoraConfig(**LORA), base, tmp_path / "adapter")
    whole, half = FrozenLM.load(tmp_path / "adapter"), FrozenLM.load(tmp_path / "adapter", "bfloat16")
    assert all(p.dtype == torch.bfloat16 for p in half.model.parameters())
    weight = "model.layers.0.self_attn.q_proj.weight"
    exact = dict(whole.model.named_parameters())[weight]
    assert torch.equal(dict(half.model.named_parameters())[weight], exact.bfloat16())


def settle(folder: Path, **settings: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def name_base(folder: Path, base: str | None) -> None:
    settle(folder, base_model_name_or_path=base)


def pickle_it(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def lose_a_layer(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: v for k, v in weights.items() if "layers.0" not in k}, folder / "adapter_model.safetensors")


def widen(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: torch.cat([v, v]) for k, v in weights.items()}, folder / "adapter_model.safetensors")


DAMAGE = {
    "pickled": (pickle_it, "has no adapter_model.safetensors; pickled ones are not read"),
    "no model": (lambda f: name_base(f, None), "does not say of which language model"),
    "lost model": (lambda f: name_base(f, str(f / "nowhere")), "no language model at .*nowhere"),
    "half": (lose_a_layer, "cannot be merged into its language model: .*layers.0.* is in one of them only"),
    "other shapes": (
        widen,
        "cannot be merged into its language model: Error.* in loading .*: size mismatch",
    ),
    "no kind of PEFT's": (lambda f: settle(f, peft_type="FOO"), "cannot be merged .*: KeyError 'FOO'"),
    "no pattern": (lambda f: settle(f, target_modules="("), "cannot be merged .*: missing \\)"),
    "a rank in words": (lambda f: settle(f, r="four"), "cannot be merged .*: '<=' not supported"),
    "another task": (lambda f: settle(f, task_type="SEQ_CLS"), "is for SEQ_CLS, and not for a causal language model"),
    "no settings": (lambda f: (f / "adapter_config.json").write_text("[]"), "holds no settings of an adapter"),
    "broken": (lambda f: (f / "adapter_model.safetensors").write_bytes(b"?"), "cannot read '.*adapter_model.safe"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_an_adapter_that_cannot_be_used_is_one_line(llama, tmp_path, damage, words):
    llama.model.save_pretrained(tmp_path / "base")
    train(LoraConfig(**LORA), tmp_path / "base", tmp_path / "adapter")
    damage(tmp_path / "adapter")
    with pytest.raises(ValueError, match=words) as error:
        FrozenLM.load(tmp_path / "adapter")
    assert "\n" not in str(error.value)


def test_a_soft_prompt_is_no_language_model_and_the_line_says_where_it_belongs(llama, tmp_path):
    save_prompt(tmp_path / "prompt", torch.ones(3, llama.d_model), "gpt2")
    with pytest.raises(ValueError, match="'gpt2'.*method.initialize_from=.*prompt") as error:
        FrozenLM.load(tmp_path / "prompt")
    assert "\n" not in str(error.value)


def test_an_adapter_of_rows_in_each_layer_is_refused(llama, tmp_path):
    llama.model.save_pretrained(tmp_path / "base")
    train(PrefixTuningConfig(**CAUSAL, num_virtual_tokens=3), tmp_path / "base", tmp_path / "adapter")
    with pytest.raises(ValueError, match="cannot be merged .*PREFIX_TUNING"):
        FrozenLM.load(tmp_path / "adapter")


def test_a_directory_with_both_is_the_adapters(llama, tmp_path):
    llama.model.save_pretrained(tmp_path / "base")
    llama.tokenizer.save_pretrained(tmp_path / "base")
    train(LoraConfig(**LORA), tmp_path / "base", tmp_path / "adapter")
    merged = FrozenLM.load(tmp_path / "adapter").hash
    shutil.copy(tmp_path / "base" / "config.json", tmp_path / "adapter")
    assert FrozenLM.load(tmp_path / "adapter").hash == merged


def test_an_adapter_is_not_merged_into_fewer_bits(llama, tmp_path):
    llama.model.save_pretrained(tmp_path / "base")
    train(LoraConfig(**LORA), tmp_path / "base", tmp_path / "adapter")
    with pytest.raises(ValueError, match="cannot be merged into weights of 4bit: merge it first"):
        FrozenLM.load(tmp_path / "adapter", quantization="4bit")


def in_hub_cache(cache: Path, name: str, folder: Path) -> None:
    """Puts a directory where the hub's client keeps what it has fetched."""
    kept, commit = cache / f"models--{name.replace('/', '--')}", "0" * 40
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    shutil.copytree(folder, kept / "snapshots" / commit)


def test_an_adapter_of_the_hub_lies_on_a_model_of_the_hub(llama, tmp_path, monkeypatch):
    llama.model.save_pretrained(tmp_path / "base")
    llama.tokenizer.save_pretrained(tmp_path / "base")
    train(LoraConfig(**LORA), tmp_path / "base", tmp_path / "adapter")
    wanted = FrozenLM.load(tmp_path / "adapter").hash
    name_base(tmp_path / "adapter", "acme/base")
    for name in ("base", "adapter"):
        in_hub_cache(tmp_path / "hub", f"acme/{name}", tmp_path / name)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    lm = FrozenLM.load("acme/adapter")
    assert lm.hash == wanted and lm.tokenizer("def 12").input_ids == llama.tokenizer("def 12").input_ids
    assert FrozenLM.load("acme/base").hash == llama.hash
