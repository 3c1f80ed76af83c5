"""Files that are no configuration of a run are named for what they are, in one line that says where to go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from distributed.cli import main
from distributed.config.load import load_config, parse_config
from distributed.errors import UserError

ELM = {"evo_init_steps": 10, "behavior_n_bins": 12, "env_name": "sodarace", "hydra": {"run": {"dir": "x"}}}
MUTATION = {"model": "some/model", "n_trials": 500, "n_bugs": 1, "hydra": {}}
MPT = {"model": {"model_name": "prompt"}, "qd": {"qd_name": "mapelites"}, "env": {"env_name": "sodarace"}}

KINDS: list[tuple[dict[str, Any], str, str]] = [
    ({"zero_optimization": {"stage": 2}, "fp16": {}}, "a configuration of DeepSpeed (zero_optim", "compute.dtype=bf"),
    ({"train_micro_batch_size_per_gpu": 4}, "a configuration of DeepSpeed (train_micro", "configs/quickstart.yml"),
    ({"distributed_type": "FSDP"}, "a configuration of accelerate (distributed_type)", "rollouts.workers"),
    ({"trainer": {"devices": 8}}, "a configuration of NeMo (trainer)", "configs/quickstart.yml"),
    (ELM, "a configuration of OpenELM's MAP-Elites (evo_init_steps)", "`terraprompt corpus` does that here"),
    ({"init_steps": 3, "n_steps": 9, "task": "Sodarace"}, "MAP-Elites (init_steps)", "`terraprompt corpus` does"),
    (ELM | {"env_name": "imageoptim"}, "on imageoptim, which is not here", "`terraprompt corpus`"),
    (MPT, "a configuration of OpenELM's MAP-Elites (env)", "`terraprompt corpus` does that here"),
    ({"qd": {"qd_name": "cvtmapelites"}}, "a configuration of OpenELM's MAP-Elites (qd)", "`terraprompt corpus`"),
    (MUTATION, "OpenELM's benchmarks of mutation models (n_trials)", "`terraprompt corpus`"),
    ({"defaults": ["base", {"env": "x"}]}, "a configuration of Hydra", "configs/quickstart.yml"),
    ({"program": "x.py", "method": "random", "parameters": {}}, "a sweep of Weights & Biases", "search.space"),
    ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}, "a soft prompt's adapter_config", "initialize_from"),
    ({"peft_type": "LORA", "r": 8}, "an adapter (LORA) of PEFT's", "name its directory in model.model_path"),
    ({"model_type": "gpt2", "vocab_size": 9}, "a language model's own config.json", "model.model_path"),
    ({"tokenizer_class": "GPT2Tokenizer"}, "a tokenizer's own configuration", "model.model_path"),
    ({"transformers_version": "5.0.0", "eos_token_id": 3}, "a generation_config.json", "method.gen_kwargs"),
    ({"output_dir": "out", "learning_rate": 1}, "arguments of transformers' Trainer", "configs/quickstart.yml"),
    ({"terrains": {}, "transfer": {}, "seed": 1}, "the summary of a run", "config.json beside it"),
]


@pytest.mark.parametrize(("data", "words", "way"), KINDS, ids=[words[:40] for _, words, _ in KINDS])
def test_a_file_of_another_kind_is_named_with_the_way_to_go(
    data: dict[str, Any], words: str, way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.yml"
    file.write_text(yaml.safe_dump(data))
    for command in ("train", "search"):
        with pytest.raises(SystemExit) as exit_:
            main([command, "--config", str(file)])
        [line] = capsys.readouterr().err.strip().splitlines()
        assert exit_.value.code == 2 and words in line and way in line and "other.yml" in line


@pytest.mark.parametrize("name", ["n_steps", "output_dir", "evo_n_steps", "n_trials", "env"])
def test_a_key_that_does_not_belong_makes_no_other_file_of_a_run(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: no such setting"):
        parse_config({"train": {"total_steps": 2}, name: 3})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("job.py", "is a Python program"),
        ("server.pbtxt", "is a configuration of a Triton server"),
        ("notes.ipynb", "is a notebook"),
        ("model.safetensors", "holds weights"),
    ],
)
def test_what_is_no_yaml_is_named_by_its_ending(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('name: "a"\nx {\n')
    with pytest.raises(UserError, match=words):
        load_config(tmp_path / name)
