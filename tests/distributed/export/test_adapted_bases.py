"""Runs on a language model that is an adapter on another one: exported, and loaded where the project is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.export.prompt_model import weights_hash
from distributed.export.registry import model_uri
from distributed.results.run_folder import PROMPTS
from distributed.rollout.instructions import instruction_ids
from distributed.training.setup import load_lm
from distributed.training.trlx_settings import readable_by_trlx
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import program_texts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from tests.distributed.finished_runs import BUMPY, INSTRUCTION, NEW_TOKENS, export, make_run, programs

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore::UserWarning:peft.*")]

ALONE = """
import sys
sys.modules["softprompt"] = sys.modules["distributed"] = None  # as where this project is not installed
import mlflow
writer = mlflow.pyfunc.load_model(sys.argv[1]).unwrap_python_model()
print(sum(p.numel() for p in writer._base.parameters()))
"""


@pytest.fixture
def adapted(tiny_lm: tuple[FrozenLM, Path], tmp_path: Path) -> Path:
    """A LoRA adapter's directory, with a head of its own, beside the tiny language model it is on."""
    settings = {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"], "task_type": "CAUSAL_LM"}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_lm[1]), LoraConfig(**settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=generator) * 0.2
    model.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


def test_a_run_on_an_adapters_directory_is_exported_and_written_with(adapted, tiny_lm, store, tmp_path):
    torch.set_num_threads(1)
    lm = load_lm(with_settings(RunConfig(), {"model.model_path": str(adapted)}))
    assert lm.hash != tiny_lm[0].hash
    run = make_run(tmp_path / "run", adapted, lm)
    export(run)
    prompt, before = torch.from_numpy(load_file(run / PROMPTS)[BUMPY])[None], instruction_ids(lm, INSTRUCTION)
    samples = Sampler(lm, GenerationConfig(max_new_tokens=NEW_TOKENS)).sample(prompt, [SampleRequest(0, before, 3, 7)])
    rows = [ids[mask].tolist() for ids, mask in zip(samples.ids, samples.mask, strict=True)]
    assert programs(BUMPY, seed=7) == program_texts(lm.tokenizer, [INSTRUCTION] * 3, [before] * 3, rows)

    model = mlflow.pyfunc.load_model(model_uri(BUMPY))
    assert weights_hash(model.unwrap_python_model()._base) == lm.hash
    assert model.metadata.flavors["python_function"]["code"]


@pytest.mark.slow
def test_it_is_loaded_where_this_project_is_not(adapted, store, tmp_path):
    lm = FrozenLM.load(adapted)
    export(make_run(tmp_path / "run", adapted, lm), BUMPY)
    folder = mlflow.artifacts.download_artifacts(model_uri(BUMPY))
    done = subprocess.run([sys.executable, "-c", ALONE, folder], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(sum(p.numel() for p in lm.model.parameters())), done.stderr[-2000:]


def test_other_runs_carry_no_code_for_it(run, store):
    export(run, "tunnel")
    assert not (Path(mlflow.artifacts.download_artifacts(model_uri("tunnel"))) / "code").exists()


def test_the_adapter_is_named_as_what_the_prompt_belongs_to(adapted, store, tmp_path):
    lm = FrozenLM.load(adapted)
    export(make_run(tmp_path / "run", adapted, lm), "tunnel")
    folder = Path(mlflow.artifacts.download_artifacts(model_uri("tunnel")))
    said = json.loads((folder / "artifacts" / "prompt" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == str(adapted)


def test_trlx_is_given_the_language_model_with_the_adapter_in_it(adapted, tiny_lm, tmp_path):
    lm = FrozenLM.load(adapted)
    given = readable_by_trlx(with_settings(RunConfig(), {"model.model_path": str(adapted)}), lm, tmp_path / "lm")
    assert FrozenLM.load(given.model.model_path).hash == lm.hash
    plain = with_settings(RunConfig(), {"model.model_path": str(tiny_lm[1])})
    assert readable_by_trlx(plain, tiny_lm[0], tmp_path / "none") is plain and not (tmp_path / "none").exists()
