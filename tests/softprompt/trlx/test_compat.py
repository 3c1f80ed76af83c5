"""The repairs of trlx one by one: those that can be seen without trlx, then those that need it."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from softprompt.trlx import compat
from tests.softprompt.conftest import tiny_model

needs_trlx = pytest.mark.skipif(
    find_spec("trlx") is None, reason="trlx is not installed; `make test-trlx TRLX_SRC=...` runs this on a clone"
)
IDS = torch.tensor([[0, 0, 7, 8, 9, 10], [5, 6, 7, 8, 9, 10]])
MASK = (IDS > 0).long()
POSITIONS = (MASK.cumsum(-1) - 1).clamp(min=0)


def test_importing_the_repairs_repairs_nothing():
    """Whoever imports the package must not find transformers, peft or accelerate changed."""
    import subprocess

    code = "import sys, softprompt.trlx.compat, softprompt.trlx.registration as r; print('trlx' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_stand_ins_are_gone_afterwards_and_do_what_trlx_asks_of_them(monkeypatch):
    monkeypatch.setattr(compat, "_installed", lambda name: name == "wandb")
    before = set(sys.modules)
    with compat.absent_modules() as names:
        assert names == ("torchtyping", "deepspeed")
        deepspeed, torchtyping = sys.modules["deepspeed"], sys.modules["torchtyping"]
        assert torchtyping.TensorType["batch", "length"] is torchtyping.TensorType
        with deepspeed.zero.GatheredParameters([], modifier_rank=None):
            pass
    assert not {"deepspeed", "torchtyping"} & (set(sys.modules) - before)


def test_stand_ins_are_gone_after_a_failure_too(monkeypatch):
    monkeypatch.setattr(compat, "_installed", lambda name: False)
    with pytest.raises(ImportError, match="broken"), compat.absent_modules():
        raise ImportError("broken")
    assert not {"deepspeed", "torchtyping"} & set(sys.modules)


def test_peft_has_the_old_name_of_its_helper():
    import peft

    compat.peft_names()
    assert vars(peft)["prepare_model_for_int8_training"] is peft.prepare_model_for_kbit_training


def test_parameters_are_found_through_decorators():
    def forward(self: Any, input_ids: Any = None, position_ids: Any = None) -> None: ...

    @functools.wraps(forward)
    def decorated(*args: Any, **kwargs: Any) -> None: ...

    assert inspect.getfullargspec(decorated).args == []
    assert compat._parameters(decorated).args == ["self", "input_ids", "position_ids"]


def test_a_model_of_2023_is_told_by_its_files(tmp_path):
    assert not compat._is_of_2023(str(tmp_path)) and not compat._is_of_2023("gpt2")
    (tmp_path / "pytorch_model.bin").touch()
    assert compat._is_of_2023(str(tmp_path))


def test_without_trlx_one_line_says_how_to_install_it(monkeypatch):
    spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trlx" else spec(name))
    with pytest.raises(compat.TrlxMissingError, match="^trlx is not installed; install it with: pip install "):
        compat.apply_repairs.__wrapped__()


def test_a_tied_model_can_be_saved(tmp_path, tokenizer, monkeypatch):
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "save_state", Accelerator.save_state)
    compat.tied_checkpoints()
    accelerator = Accelerator(cpu=True)
    accelerator.prepare(tiny_model("llama", tokenizer))
    accelerator.save_state(str(tmp_path))
    assert (tmp_path / "pytorch_model.bin").exists()


@needs_trlx
def test_all_repairs_are_made_once():
    names = compat.apply_repairs()
    assert len(set(names)) == 8 and compat.apply_repairs() is names


def repaired() -> Any:
    compat.apply_repairs()
    from trlx.models.modeling_ppo import AutoModelForCausalLMWithHydraValueHead

    return AutoModelForCausalLMWithHydraValueHead


@needs_trlx
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "llama-grouped"])
def test_a_reference_branch_begins_as_the_policy(family, attention, tokenizer, tmp_path):
    """Without the repair it was off by 0.2 under sdpa, or could not be computed at all."""
    tiny_model(family, tokenizer).save_pretrained(tmp_path)
    model = repaired().from_pretrained(str(tmp_path), num_layers_unfrozen=1, attn_implementation=attention).eval()
    with torch.no_grad():
        own = model(IDS, attention_mask=MASK, position_ids=POSITIONS, return_dict=True).logits
        reference = model.forward_hydra(IDS, attention_mask=MASK, position_ids=POSITIONS, return_dict=True).logits
    kept = MASK.bool()
    torch.testing.assert_close(reference[kept], own[kept], rtol=1e-4, atol=1e-4)


@needs_trlx
@pytest.mark.parametrize("layers", [0, -1])
def test_without_a_branch_there_is_no_attribute_that_trlx_would_take_for_one(layers, tokenizer, tmp_path):
    tiny_model("gpt2", tokenizer).save_pretrained(tmp_path)
    model = repaired().from_pretrained(str(tmp_path), num_layers_unfrozen=layers)
    assert not hasattr(model, "frozen_head")
    assert {name.split(".")[0] for name in model.state_dict()} == {"base_model", "v_head"}


@needs_trlx
def test_weights_of_safetensors_are_those_of_the_model(tokenizer, tmp_path):
    saved = tiny_model("llama-grouped", tokenizer)
    saved.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    model = repaired().from_pretrained(str(tmp_path), num_layers_unfrozen=-1)
    for name, tensor in saved.state_dict().items():
        assert torch.equal(model.base_model.state_dict()[name], tensor)
    assert "input_ids" in model.forward_kwargs and "position_ids" in model.forward_kwargs
