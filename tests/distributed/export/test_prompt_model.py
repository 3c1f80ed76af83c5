"""What an exported model writes: the programs of the run's own sampler, with the base model it names or not at all."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from distributed.export.prompt_model import BASE_MODEL_VARIABLE, SoftPromptWriter
from distributed.export.registry import model_uri
from distributed.results.run_folder import PROMPTS
from distributed.rollout.instructions import instruction_ids
from softprompt.models.frozen import FrozenLM
from softprompt.sampling import GenerationConfig, SampleRequest, Samples
from tests.distributed.finished_runs import (
    BUMPY,
    INSTRUCTION,
    NEW_TOKENS,
    export,
    make_run,
    programs,
    save_base,
)
from tests.softprompt.conftest import tiny_model
from tests.softprompt.drawing import assert_drawn
from tests.softprompt.talking import talking_tokenizer

README = Path(__file__).resolve().parents[3] / "README.md"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny matrices are slower on several threads than on one."""
    torch.set_num_threads(1)


def test_peft_reads_the_exported_prompt_with_equal_logits(
    run: Path, store: str, tiny_lm: tuple[FrozenLM, Path]
) -> None:
    export(run)
    lm, base = tiny_lm
    folder = Path(mlflow.artifacts.download_artifacts(model_uri(BUMPY)))
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder / "artifacts/prompt"))
    rows = torch.from_numpy(load_file(run / PROMPTS)[BUMPY])
    ids = torch.tensor([instruction_ids(lm, INSTRUCTION)])
    with torch.no_grad():
        ours = lm.model(inputs_embeds=torch.cat([rows[None], lm.embed(ids)], dim=1)).logits
        assert torch.equal(theirs.eval()(input_ids=ids).logits, ours)


def assert_writes(
    run: Path, lm: FrozenLM, config: GenerationConfig, n: int = 3, seed: int = 7, **params: object
) -> list[str]:
    """Asserts that a model writes the programs which a request of the same seed draws; returns their texts."""
    model = mlflow.pyfunc.load_model(model_uri("tunnel"))
    writer, written = model.unwrap_python_model(), []
    decode = writer._decode
    writer._decode = lambda *arguments: written.append(decode(*arguments)) or written[-1]
    texts = model.predict(pd.DataFrame({"instruction": [INSTRUCTION] * n}), params={"seed": seed, **params})["program"]
    [rows] = written
    ids = instruction_ids(lm, INSTRUCTION)
    before = [[*ids, *row] for row in rows]
    assert list(texts) == lm.tokenizer.batch_decode(
        before, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, lm.pad_id)
    mask = torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    nothing = torch.zeros(padded.shape)
    samples = Samples(padded, mask, nothing, nothing, torch.zeros(n, dtype=torch.int64), [ids] * n)
    prompts = torch.from_numpy(load_file(run / PROMPTS)["tunnel"])[None]
    assert_drawn(lm, prompts, [SampleRequest(0, ids, n, seed)], samples, config, reported=False)
    return list(texts)


@pytest.mark.arithmetic
def test_pyfunc_writes_the_programs_that_the_sampler_writes(
    run: Path, store: str, tiny_lm: tuple[FrozenLM, Path]
) -> None:
    export(run, "tunnel")
    for params in ({}, {"temperature": 0.5, "top_k": 40, "top_p": 0.9}, {"do_sample": False}):
        assert_writes(run, tiny_lm[0], GenerationConfig(max_new_tokens=NEW_TOKENS, **params), **params)


def set_in_config(run: Path, section: str, **changed: object) -> None:
    config = json.loads((run / "config.json").read_text())
    config[section] |= changed
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.arithmetic
def test_pyfunc_ends_programs_where_the_run_ended_them(run: Path, store: str, tiny_lm: tuple[FrozenLM, Path]) -> None:
    kwargs = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": 4, "stop_strings": ["a", "e", "0", "3"]}
    set_in_config(run, "method", gen_kwargs=kwargs)
    listed = json.loads((tiny_lm[1] / "generation_config.json").read_text())
    try:
        ends = {"eos_token_id": [tiny_lm[0].eos_id, *range(150, 170)]}
        (tiny_lm[1] / "generation_config.json").write_text(json.dumps(listed | ends))
        lm = FrozenLM.load(tiny_lm[1])
        export(run, "tunnel")
        assert len({len(text) for text in assert_writes(run, lm, GenerationConfig(**kwargs), n=16)}) > 3
    finally:
        (tiny_lm[1] / "generation_config.json").write_text(json.dumps(listed))


@pytest.mark.arithmetic
def test_pyfunc_computes_in_the_runs_type_of_numbers(run: Path, store: str, tiny_lm: tuple[FrozenLM, Path]) -> None:
    lm = FrozenLM.load(tiny_lm[1], dtype="bfloat16")
    set_in_config(run, "compute", dtype="bfloat16")
    summary = json.loads((run / "summary.json").read_text()) | {"lm_hash": lm.hash}
    (run / "summary.json").write_text(json.dumps(summary))
    export(run, "tunnel")
    config = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False)
    assert_writes(run, lm, config, n=1, do_sample=False)
    writer = mlflow.pyfunc.load_model(model_uri("tunnel")).unwrap_python_model()
    assert writer._base.dtype == torch.bfloat16


@pytest.mark.arithmetic
def test_same_seed_same_programs_and_another_seed_others(run: Path, store: str, tiny_lm: tuple[FrozenLM, Path]) -> None:
    export(run, "tunnel")
    first = programs("tunnel", seed=5)
    assert first == programs("tunnel", seed=5)
    for n in (2, 3):  # the first of them draw from the same numbers
        assert_writes(run, tiny_lm[0], GenerationConfig(max_new_tokens=NEW_TOKENS), n, seed=5)
    assert first != programs("tunnel", seed=6) and len(set(first)) == 3
    assert programs("tunnel", seed=-1) != programs("tunnel", seed=-1)


def test_rows_do_not_depend_on_their_neighbours(run: Path, store: str) -> None:
    """A row's numbers are its own; two batches may round so near to an edge that one program of many differs."""
    export(run, "tunnel")
    model = mlflow.pyfunc.load_model(model_uri("tunnel"))

    def third(seed: int, *before: str) -> str:
        frame = pd.DataFrame({"instruction": [*before, INSTRUCTION]})
        return model.predict(frame, params={"seed": seed})["program"].iloc[2]

    pairs = [(third(seed, "def f():\n", "import"), third(seed, INSTRUCTION, INSTRUCTION)) for seed in range(3, 9)]
    assert sum(one == other for one, other in pairs) >= 5
    assert len({one for one, _ in pairs}) == 6 and all(one.startswith(INSTRUCTION) for one, _ in pairs)


def test_readme_says_how_to_predict(run: Path, store: str) -> None:
    export(run, "tunnel")
    code = re.search(r"^    (mlflow\.pyfunc\.load_model.*?)\n\n", README.read_text(), re.DOTALL | re.MULTILINE)
    assert code and len(eval(code[1], {"mlflow": mlflow})) == 4


def test_instructions_come_as_a_table_a_dict_or_one_text(run: Path, store: str) -> None:
    export(run, "tunnel")
    model = mlflow.pyfunc.load_model(model_uri("tunnel"))
    three = programs("tunnel", 3, seed=2)
    assert list(model.predict({"instruction": [INSTRUCTION] * 3}, params={"seed": 2})["program"]) == three
    assert list(model.predict({"instruction": INSTRUCTION}, params={"seed": 2})["program"]) == three[:1]
    for wrong in (pd.DataFrame({"instruction": [5]}), pd.DataFrame({"text": [INSTRUCTION]})):
        with pytest.raises(MlflowException):
            model.predict(wrong)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"temperature": 0.0}, "temperature is 0.0, and has to be greater than 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": -1}, "top_k is -1"),
        ({"seed": -2}, "seed is -2"),
        ({"max_new_tokens": 500}, "the base model has 128"),
    ],
)
def test_pyfunc_refuses_parameters_in_words(run: Path, store: str, params: dict, words: str) -> None:
    export(run, "tunnel")
    with pytest.raises(MlflowException, match=words):
        programs("tunnel", **params)


def test_another_base_model_is_refused_when_the_model_is_loaded(
    run: Path, store: str, tiny_lm: tuple[FrozenLM, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(run, "tunnel")
    other = tiny_model("llama", tiny_lm[0].tokenizer)
    with torch.no_grad():
        other.get_input_embeddings().weight[5, 5] += 1e-3
    folder = save_base(FrozenLM(other, tiny_lm[0].tokenizer), tmp_path / "other")
    monkeypatch.setenv(BASE_MODEL_VARIABLE, str(folder))
    with pytest.raises(MlflowException, match="was tuned for the base model .* with hash") as refusal:
        mlflow.pyfunc.load_model(model_uri("tunnel"))
    assert "\n" not in str(refusal.value)
    monkeypatch.setenv(BASE_MODEL_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(MlflowException, match=f"cannot load the base model .*{BASE_MODEL_VARIABLE}"):
        mlflow.pyfunc.load_model(model_uri("tunnel"))


def test_base_model_that_was_moved_is_found_by_the_variable(
    tmp_path: Path, store: str, tiny_lm: tuple[FrozenLM, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, base = tiny_lm
    here = Path(shutil.copytree(base, tmp_path / "here"))
    export(make_run(tmp_path / "runs" / "first", here, lm), "tunnel")
    expected = programs("tunnel", seed=1)
    here.rename(tmp_path / "there")
    monkeypatch.setenv(BASE_MODEL_VARIABLE, str(tmp_path / "there"))
    assert programs("tunnel", seed=1) == expected


def test_an_instruction_that_the_chat_template_refuses_is_one_line(tiny_lm: tuple[FrozenLM, Path]) -> None:
    writer = SoftPromptWriter()
    writer.tokenizer = talking_tokenizer(tiny_lm[0].tokenizer, "{{ messages[0].content + (1 if 'x' == 'x') }}")
    writer._chat, writer._rows = {"template": True}, 1000
    with pytest.raises(MlflowException, match="chat template does not take this instruction: can only conc") as error:
        writer._instruction("def f")
    assert "\n" not in error.value.message
