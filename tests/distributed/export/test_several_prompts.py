"""A terrain with several prompts: kept in one tensor, exported as one model, written behind in turn."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

import terraprompt
from distributed.export.registry import model_uri
from distributed.results.run_folder import PROMPTS, open_run
from tests.distributed.finished_runs import BUMPY, export, main_exit, make_run, programs

N = 3
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny matrices are slower on several threads than on one."""
    torch.set_num_threads(1)


def with_prompts(folder: Path, tiny_lm, change) -> Path:
    lm, base = tiny_lm
    path = make_run(folder, base, lm)
    saved = load_file(path / PROMPTS)
    save_file({name: np.ascontiguousarray(change(prompt)) for name, prompt in saved.items()}, path / PROMPTS)
    return path


def three(prompt):
    return np.stack([prompt, -prompt, prompt[::-1]])


@pytest.fixture
def several(tmp_path, tiny_lm):
    return with_prompts(tmp_path / "several", tiny_lm, three)


def test_a_model_writes_behind_its_prompts_in_turn_beginning_with_the_seed(several, store, tmp_path, tiny_lm):
    export(several, "tunnel")
    written = programs("tunnel", 5, seed=4)
    alone = []
    for k in range(N):
        export(with_prompts(tmp_path / f"alone{k}", tiny_lm, lambda prompt, k=k: three(prompt)[k]), "tunnel")
        version = k + 2
        model = mlflow.pyfunc.load_model(f"models:/softprompt.tunnel/{version}")
        alone.append(list(model.predict({"instruction": ["import math\n"] * 5}, params={"seed": 4})["program"]))
    assert written == [alone[(4 + row) % N][row] for row in range(5)]
    assert len({tuple(each) for each in alone}) == N, "the prompts write different programs"


def test_peft_reads_each_prompt_from_a_folder_of_its_number(several, store, tiny_lm):
    export(several, BUMPY)
    lm, base = tiny_lm
    folder = Path(mlflow.artifacts.download_artifacts(model_uri(BUMPY)), "artifacts", "prompt")
    assert sorted(each.name for each in folder.iterdir()) == ["000", "001", "002"]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder / "002"))
    np.testing.assert_array_equal(model.get_prompt(1)[0].detach().numpy(), load_file(several / PROMPTS)[BUMPY][2])


def test_write_from_the_run_and_from_the_registry_is_the_same(several, store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export(several)
    capsys.readouterr()
    texts = {}
    for seed in ("4", "5", "6"):
        for source in ((), ("--from", str(several))):
            assert main_exit("write", "--terrain", "tunnel", "--seed", seed, *source) == 0
            texts.setdefault(seed, set()).add(capsys.readouterr().out)
    assert all(len(same) == 1 for same in texts.values()) and len(set.union(*texts.values())) == 3


def test_from_python_texts_are_written_behind_all_prompts_evenly_and_each_is_saved(several, tmp_path):
    run = terraprompt.load_run(several)
    assert run.prompts["tunnel"].shape[0] == N
    texts = run.generate(terrain="tunnel", n=7, seed=2)
    assert len(texts) == 7 and texts == run.generate(terrain="tunnel", n=7, seed=2)
    place = run.save_pretrained(tmp_path / "saved", "tunnel")
    assert sorted(each.name for each in place.iterdir()) == ["000", "001", "002"]


def test_a_run_says_all_its_prompts(several, tiny_lm):
    run = open_run(several)
    assert run.prompt_set("tunnel").shape == (N, 4, tiny_lm[0].d_model)
    run.load_base()
