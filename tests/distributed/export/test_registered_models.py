"""Exported models as others use them: without this project, from a server, behind an endpoint, by the hundred."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from safetensors.numpy import load_file

from distributed.export.registry import model_uri, registry_name
from distributed.results.run_folder import PROMPTS
from distributed.rollout.instructions import instruction_ids
from softprompt.models.frozen import FrozenLM
from tests.accuracy import assert_both_accurate
from tests.distributed.finished_runs import BUMPY, FITNESS, INSTRUCTION, export, main_exit, make_run, programs
from tests.distributed.servers import answered, free_port, served, serving
from tests.softprompt.exact import doubled, logits_behind

pytestmark = pytest.mark.timeout(300)

STRANGER = """
import json, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("distributed", "softprompt", "terraprompt", "terrains"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Nothing())
import mlflow, pandas, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

uri, base, ids, seed = json.loads(sys.argv[1])
model = mlflow.pyfunc.load_model(uri)
frame = pandas.DataFrame({"instruction": ["import math\\n"] * 3})
programs = list(model.predict(frame, params={"seed": seed})["program"])
folder = mlflow.artifacts.download_artifacts(uri)
prompted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder + "/artifacts/prompt").eval()
with torch.no_grad():
    logits = prompted(input_ids=torch.tensor([ids])).logits
torch.save(logits, "logits.pt")
print(json.dumps(programs))
"""


@pytest.mark.slow
def test_process_without_these_packages_gets_equal_logits_and_programs(
    run: Path,
    store: str,
    tmp_path: Path,
    tiny_lm: tuple[FrozenLM, Path],
) -> None:
    export(run)
    lm, base = tiny_lm
    ids = list(instruction_ids(lm, INSTRUCTION))
    asked = json.dumps([model_uri(BUMPY), str(base), ids, 11])
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, asked], capture_output=True, text=True, timeout=250, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == programs(BUMPY, seed=11)
    rows = torch.from_numpy(load_file(run / PROMPTS)[BUMPY])
    # Another process may have other numbers of threads, and so other orders of sums.
    theirs = torch.load(tmp_path / "logits.pt", weights_only=True)[0]
    ours, _ = logits_behind(lm, rows, torch.tensor(ids))
    exact, _ = logits_behind(doubled(lm), rows, torch.tensor(ids))
    assert_both_accurate(theirs, ours, exact)


@pytest.mark.slow
def test_export_to_an_mlflow_server(
    run: Path,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    arguments = ["--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "kept"), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, f"{address}/health", tmp_path):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow.set_tracking_uri(address)
        assert main_exit("export", str(run)) == 0
        assert export(run) == dict.fromkeys(FITNESS, "1")
        client = MlflowClient(address)
        assert {m.name for m in client.search_registered_models()} == {registry_name(name) for name in FITNESS}
        assert client.get_model_version_by_alias(registry_name(BUMPY), "champion").tags["terrain"] == BUMPY
        assert len(programs(BUMPY, seed=1)) == 3 and programs(BUMPY, seed=1) == programs(BUMPY, seed=1)


@pytest.mark.slow
def test_models_serve_answers_a_request(run: Path, store: str, tmp_path: Path) -> None:
    export(run, "tunnel")
    with served(model_uri("tunnel"), tmp_path) as address:
        asked = {"inputs": {"instruction": [INSTRUCTION] * 3}, "params": {"seed": 8, "temperature": 1}}
        answer = answered(address, asked)
    assert answer == programs("tunnel", seed=8)


@pytest.mark.slow
def test_200_terrains_export_in_one_command(
    store: str, tmp_path: Path, tiny_lm: tuple[FrozenLM, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lm, base = tiny_lm
    terrains = {f"bumpy(amplitude={4 + k % 10},seed={k})": 10.0 + k for k in range(1, 201)}
    many = make_run(tmp_path / "runs" / "many", base, lm, terrains, n_soft_tokens=20)
    began = time.monotonic()
    assert main_exit("export", str(many)) == 0
    seconds = time.monotonic() - began
    size = sum(file.stat().st_size for file in (tmp_path / "store").rglob("*") if file.is_file())
    with capsys.disabled():
        print(f"200 terrains: {seconds:.1f} s, {size / 1e6:.1f} MB")
    client = MlflowClient(store)
    models = client.search_registered_models(max_results=300)
    assert len(models) == 200 and all(str(model.aliases["champion"]) == "1" for model in models)
    assert "200/200" in capsys.readouterr().out
    model = mlflow.pyfunc.load_model(model_uri(list(terrains)[-1]))
    assert len(model.predict(pd.DataFrame({"instruction": [INSTRUCTION]}))) == 1
