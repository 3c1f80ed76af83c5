"""The frozen language model."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from softprompt.models.frozen import FrozenLM


@pytest.fixture
def saved(llama, tmp_path):
    directory = tmp_path / "lm"
    llama.model.save_pretrained(directory)
    llama.tokenizer.save_pretrained(directory)
    return directory


def logits_of(lm: FrozenLM) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(torch.arange(3, 20)[None]).logits


def test_a_loaded_model_is_the_saved_one_and_asks_for_no_gradient(llama, saved):
    lm = FrozenLM.load(saved)
    assert lm.hash == llama.hash
    assert torch.equal(logits_of(lm), logits_of(llama))
    assert not lm.model.training
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert (lm.d_model, lm.vocab_size, lm.embedding.shape) == (32, 264, (264, 32))
    assert lm.tokenizer.decode(lm.tokenizer("import math\n").input_ids) == "import math\n"


def test_token_counts_beside_the_model_are_loaded_and_padded_to_the_vocabulary(saved):
    assert FrozenLM.load(saved).token_counts is None
    (saved / "token_counts.json").write_text(json.dumps([0, 5, 7]))
    counts = FrozenLM.load(saved).token_counts
    assert counts.shape == (264,) and counts[:4].tolist() == [0, 5, 7, 0]


def test_more_token_counts_than_tokens_are_refused(llama):
    with pytest.raises(ValueError, match="265 token counts for a vocabulary of 264"):
        FrozenLM(llama.model, llama.tokenizer, np.ones(265))


def test_a_missing_directory_is_one_line_that_names_the_nearest_path(saved):
    with pytest.raises(ValueError) as error:
        FrozenLM.load(saved.parent / "lmm")
    assert str(saved) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ValueError) as error:
        FrozenLM.load(f"{saved}/../nowhere/at/all")
    assert "nearest existing path" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_relative_directory_is_not_taken_for_a_hub_name(saved, monkeypatch):
    monkeypatch.chdir(saved.parent.parent)
    with pytest.raises(ValueError, match="nearest existing path .*lm'"):
        FrozenLM.load(f"{saved.parent.name}/lmm")


def test_a_directory_without_a_model_says_so(tmp_path):
    with pytest.raises(ValueError, match="no config.json"):
        FrozenLM.load(tmp_path)


def change_config(directory: Path, **changed: object) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def drop_head(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "norm" not in k}, directory / "model.safetensors", {"format": "pt"})


def forget_tokenizer(directory: Path) -> None:
    for file in directory.glob("tokenizer*"):
        file.unlink()


DAMAGE = {
    "no tokenizer": (forget_tokenizer, "has no tokenizer that can be read"),
    "encoder": (lambda d: change_config(d, model_type="t5"), "it is a t5 model, which has an encoder"),
    "gap filler": (
        lambda d: change_config(d, architectures=["BertForMaskedLM"]),
        "a BertForMaskedLM, which fills gaps",
    ),
    "no language model": (lambda d: change_config(d, model_type="vit"), "it is a vit model, and not a causal one"),
    "unknown": (lambda d: change_config(d, model_type="zork"), "does not recognize this architecture"),
    "own code": (
        lambda d: change_config(d, model_type="zork", auto_map={"AutoConfig": "code.Config"}),
        "code of its own, which is never run here",
    ),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "no file named model.safetensors"),
    "broken weights": (lambda d: (d / "model.safetensors").write_bytes(b"?"), "cannot load a language model"),
    "other shapes": (lambda d: change_config(d, vocab_size=7), "weights have other shapes than its config.json says"),
    "wrong type": (lambda d: change_config(d, vocab_size="x"), "vocab_size.*expected int, got str"),
    "broken tokenizer": (lambda d: (d / "tokenizer.json").write_text("{}"), "has no tokenizer that can be read"),
    "counts that are none": (lambda d: (d / "token_counts.json").write_text("{}"), "cannot read the token counts"),
    "counts in rows": (lambda d: (d / "token_counts.json").write_text("[[1], [2]]"), "they are a list of numbers"),
    "counts below 0": (lambda d: (d / "token_counts.json").write_text("[-1, 2]"), "they are a list of numbers"),
    "lacking weights": (drop_head, "its weights lack model.layers.0.input_layernorm.weight, model"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_no_causal_language_model_is_refused_in_one_line(saved, damage, words):
    damage(saved)
    with pytest.raises(ValueError, match=words) as refusal:
        FrozenLM.load(saved)
    assert "\n" not in str(refusal.value)


def test_a_file_is_no_language_model(saved):
    with pytest.raises(ValueError, match="is a file; a language model is a directory"):
        FrozenLM.load(saved / "config.json")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gpt_neox", "opt"])
def test_a_model_rebuilt_from_its_export_is_equal_and_shares_the_memory(make_lm, family):
    lm = make_lm(family)
    parts = lm.export()
    for array in parts["weights"].values():
        array.flags.writeable = False
    copy = FrozenLM.from_weights(**parts)
    assert copy.hash == lm.hash
    assert torch.equal(logits_of(copy), logits_of(lm))
    theirs = {p.data_ptr() for p in copy.model.parameters()}
    assert theirs == {array.__array_interface__["data"][0] for array in parts["weights"].values()}
    assert (copy.eos_id, copy.pad_id) == (lm.eos_id, lm.pad_id)
    assert copy.tokenizer("def 12").input_ids == lm.tokenizer("def 12").input_ids


def test_read_only_arrays_raise_no_warning_and_global_chance_is_left_alone(llama, recwarn):
    parts = pickle.loads(pickle.dumps(llama.export()))
    for array in parts["weights"].values():
        array.flags.writeable = False
    before = torch.get_rng_state()
    FrozenLM.from_weights(**parts)
    assert torch.equal(before, torch.get_rng_state())
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_bfloat16_weights_survive_the_export(saved):
    lm = FrozenLM.load(saved, dtype="bfloat16")
    copy = FrozenLM.from_weights(**lm.export())
    assert copy.embedding.dtype == torch.bfloat16
    assert copy.hash == lm.hash
    assert torch.equal(logits_of(copy), logits_of(lm))


def test_weights_of_another_model_are_refused(llama, gpt2):
    parts = llama.export() | {"weights": gpt2.export_weights()}
    with pytest.raises(ValueError, match="do not fit a llama model"):
        FrozenLM.from_weights(**parts)


def test_the_hash_changes_with_a_single_bit(llama):
    parts = pickle.loads(pickle.dumps(llama.export()))
    array = parts["weights"]["model.norm.weight"]
    array[0] = np.nextafter(array[0], np.float32(9))
    assert FrozenLM.from_weights(**parts).hash != llama.hash


def test_a_model_without_a_pad_token_is_padded_with_its_end_token(llama, tokenizer):
    class Bare:
        eos_token_id = tokenizer.eos_token_id
        pad_token_id = None

    parts = llama.export()
    parts["config"] = parts["config"] | {"pad_token_id": None}
    lm = FrozenLM(FrozenLM.from_weights(**parts).model, Bare())
    assert lm.pad_id == lm.eos_id == tokenizer.eos_token_id


def test_end_tokens_are_the_tokenizers_and_all_of_a_list(llama, saved):
    assert llama.eos_ids == (llama.tokenizer.eos_token_id,)
    listed = json.loads((saved / "generation_config.json").read_text()) | {"eos_token_id": [9, 2, 9999]}
    (saved / "generation_config.json").write_text(json.dumps(listed))
    lm = FrozenLM.load(saved)
    assert lm.eos_ids == (2, 9) and lm.eos_id == 2
    assert FrozenLM.from_weights(**lm.export()).eos_ids == (2, 9)


def test_a_tokenizer_without_end_or_padding_leaves_them_to_the_configuration(llama):
    class Bare:
        eos_token_id = pad_token_id = None

    parts = llama.export()
    model = FrozenLM.from_weights(**(parts | {"config": parts["config"] | {"eos_token_id": [7, 8]}})).model
    assert (FrozenLM(model, Bare()).eos_ids, FrozenLM(model, Bare()).pad_id) == ((7, 8), llama.pad_id)
    model = FrozenLM.from_weights(**(parts | {"config": parts["config"] | {"eos_token_id": None}})).model
    model.config.pad_token_id = None
    endless = FrozenLM(model, Bare())
    assert (endless.eos_ids, endless.eos_id, endless.pad_id) == ((), None, 0)


def test_softprompt_imports_neither_ray_nor_terrains():
    code = "import sys, softprompt; print({m.split('.')[0] for m in sys.modules} & {'ray', 'terrains', 'distributed'})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
