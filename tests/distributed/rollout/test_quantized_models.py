"""Language models of 4 and 8 bits in a run: workers load them themselves, and what is exported computes the same."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from distributed.config.load import parse_config
from distributed.errors import UserError
from distributed.export.prompt_model import weights_hash
from distributed.export.registry import model_uri
from distributed.results.run_folder import CONFIG
from distributed.training.setup import exported, load_lm
from distributed.training.trlx_settings import check_for_trlx
from softprompt.models.frozen import FrozenLM
from softprompt.pretrain.tokenizer import train_tokenizer
from tests.distributed.finished_runs import BUMPY, export, make_run, programs, save_base
from tests.distributed.tiny_runs import config, finish, loop_of
from tests.softprompt.conftest import VOCAB
from tests.softprompt.families import SMALL, Family, build

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
WIDE = Family("wide", "llama", {**SMALL, "hidden_size": 64, "intermediate_size": 128}, "")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    tokenizer = train_tokenizer(["import math\ndef f():\n    return 12\n"] * 3, VOCAB, "import math\n")
    return save_base(FrozenLM(build(WIDE), tokenizer), tmp_path_factory.mktemp("wide"))


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_run_learns_behind_it_and_workers_load_it_themselves(base, bits):
    run = config(model__model_path=str(base), compute__quantization=bits, train__total_steps=1)
    lm = load_lm(run)
    assert set(exported(lm)) == {"path", "dtype", "chat", "quantization"}
    hashed = lm.hash
    loop = loop_of(run, lm)
    before = loop.learner.prompt_state().prompts.copy()
    finish(loop)
    assert np.isfinite(loop.prompts).all() and lm.hash == hashed
    assert not np.array_equal(loop.prompts, before)


@needs_bitsandbytes
def test_an_exported_prompt_is_read_behind_the_same_codes(base, store, tmp_path):
    torch.set_num_threads(1)
    lm = FrozenLM.load(base, quantization="4bit")
    run = make_run(tmp_path / "run", base, lm)
    settings = json.loads((run / CONFIG).read_text())
    settings["compute"]["quantization"] = "4bit"
    (run / CONFIG).write_text(json.dumps(settings))
    export(run, BUMPY)
    writer = mlflow.pyfunc.load_model(model_uri(BUMPY)).unwrap_python_model()
    assert weights_hash(writer._base) == lm.hash and len(set(programs(BUMPY))) == 3


def test_what_needs_whole_weights_is_refused_in_one_line():
    with pytest.raises(UserError, match="^compute.quantization: weights of 4bit cannot be trained; set model.num_lay"):
        parse_config({"compute": {"quantization": "4bit"}, "model": {"num_layers_unfrozen": 1}})
    with pytest.raises(UserError, match="^compute.quantization: trlx loads whole weights here; .* null"):
        check_for_trlx(config(compute__quantization="8bit"))
