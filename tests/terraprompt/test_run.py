"""What a `Run` does with what a run has left."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from rich.console import Console

import terraprompt
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terraprompt import Run
from tests.distributed.finished_runs import BUMPY, make_run
from tests.softprompt.exact import Float64, doubled

TEXT = "import math\n"


@pytest.fixture
def run(tmp_path: Path, tiny_lm: tuple[FrozenLM, Path]) -> Run:
    """A finished run of two terrains, with random prompts and without checkpoints."""
    return terraprompt.load_run(make_run(tmp_path / "runs" / "first", tiny_lm[1], tiny_lm[0]))


def test_generated_texts_are_the_sampler_s(run: Run, tiny_lm: tuple[FrozenLM, Path]) -> None:
    lm = tiny_lm[0]
    texts = run.generate([TEXT, "def f():"], terrain="tunnel", n=3, seed=4, max_new_tokens=9)
    assert texts == run.generate([TEXT, "def f():"], terrain="tunnel", n=3, seed=4, max_new_tokens=9)
    assert texts != run.generate([TEXT, "def f():"], terrain="tunnel", n=3, seed=5, max_new_tokens=9)
    rows = torch.from_numpy(run.prompts["tunnel"])[None]
    ids = instruction_ids(lm, TEXT)
    samples = Sampler(lm, GenerationConfig(max_new_tokens=9)).sample(rows, [SampleRequest(0, ids, 3, 4)])
    drawn = [row[kept].tolist() for row, kept in zip(samples.ids, samples.mask, strict=True)]
    wholes = lm.tokenizer.batch_decode([[*ids, *row] for row in drawn], skip_special_tokens=True)
    assert texts[:3] == wholes and all(each.startswith("def f():") for each in texts[3:])
    assert run.generate(TEXT, "tunnel", n=3, seed=4, max_new_tokens=9) == texts[:3]
    assert run.generate(terrain="tunnel", n=3, seed=4, max_new_tokens=9) == texts[:3]  # the terrain's own instruction


def test_what_cannot_be_generated_is_one_line(run: Run) -> None:
    for said, arguments, options in (
        ("terrain: has to be given, as the run has several", (TEXT,), {}),
        ("did you mean tunnel", (TEXT, "tunel"), {}),
        ("generate takes no argument 'max_tokens'; did you mean max_new_tokens", (TEXT, "tunnel"), {"max_tokens": 3}),
        ("n: must be at least 1", (TEXT, "tunnel", 0), {}),
        ("prompts: are empty", ([], "tunnel"), {}),
        ("positions", (TEXT, "tunnel"), {"max_new_tokens": 100_000}),
        ("prompts: is 'int', and not a list", (3, "tunnel"), {}),
        ("prompts: is 'dict', and not a list", ({"prompt": "a"}, "tunnel"), {}),
        (r"prompts\[1\]: is 'int', and not a text", (["a", 3], "tunnel"), {}),
        (r"prompts\[0\]: has half of a character", ("\ud800", "tunnel"), {}),
        ("terrain: is 3, and no name", (TEXT, 3), {}),
        ("n: must be a whole number, not 1.5", (TEXT, "tunnel", 1.5), {}),
        ("seed: must be a whole number, not None", (TEXT, "tunnel", 1, None), {}),
        ("seed: must be at least 0", (TEXT, "tunnel", 1, -1), {}),
    ):
        with pytest.raises(terraprompt.UserError, match=said) as raised:
            run.generate(*arguments, **options)
        assert "\n" not in str(raised.value)


def test_saved_prompts_load_in_peft_with_equal_logits(run: Run, tiny_lm: tuple[FrozenLM, Path], tmp_path: Path) -> None:
    assert run.save_pretrained(tmp_path / "one", "tunnel") == tmp_path / "one"
    run.save_pretrained(tmp_path / "all")
    assert sorted(each.name for each in (tmp_path / "all").iterdir()) == sorted(["tunnel", BUMPY])
    for terrain, folder in (("tunnel", tmp_path / "one"), (BUMPY, tmp_path / "all" / BUMPY)):
        lm = doubled(tiny_lm[0])
        ids = torch.tensor([instruction_ids(lm, TEXT)])
        rows = torch.from_numpy(run.prompts[terrain]).double()[None]
        with torch.no_grad(), Float64():
            ours = lm.model(inputs_embeds=torch.cat([rows, lm.embed(ids)], dim=1)).logits
        loaded = PeftModel.from_pretrained(lm.model, str(folder)).double().eval()
        with torch.no_grad(), Float64():
            theirs = loaded(input_ids=ids).logits
        torch.testing.assert_close(theirs, ours, rtol=1e-10, atol=1e-10)


def test_it_shows_itself(run: Run) -> None:
    assert repr(run).endswith(f"fitness tunnel 1 -> 50, {BUMPY} 1 -> 20>") and len(repr(run).splitlines()) == 1
    console = Console(file=io.StringIO(), width=80)
    console.print(run)
    assert "tunnel" in console.file.getvalue() and "Before and after tuning" in run._repr_html_()
    assert run.history == [] and run.stats == {} and run.terrains == ["tunnel", BUMPY]
    assert all(rows.dtype == np.float32 for rows in run.prompts.values())


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(terraprompt.UserError, match="there is no run"):
        terraprompt.load_run(tmp_path / "nothing")
    with pytest.raises(terraprompt.UserError, match="directory: is 3, and no path"):
        terraprompt.load_run(3)  # type: ignore[arg-type]


def test_a_prompt_is_not_written_where_it_would_hide_or_lose_something(
    run: Run, tiny_lm: tuple[FrozenLM, Path], tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_lm[1], tmp_path / "base")
    (tmp_path / "file").write_text("x")
    for place, said in (
        (base, "holds a language model"),
        (tmp_path / "file", "cannot write"),
        (None, "directory: is None"),
    ):
        with pytest.raises(terraprompt.UserError, match=said):
            run.save_pretrained(place, "tunnel")  # type: ignore[arg-type]
    assert FrozenLM.load(base).hash == tiny_lm[0].hash and (tmp_path / "file").read_text() == "x"


def test_a_run_whose_directory_is_gone_still_writes_behind_what_it_is_given(run: Run) -> None:
    texts = run.generate(TEXT, "tunnel", max_new_tokens=2)
    shutil.rmtree(run.directory)
    assert run.generate(TEXT, "tunnel", max_new_tokens=2) == texts
    with pytest.raises(terraprompt.UserError, match="is not there any more; give prompts"):
        run.generate(terrain="tunnel")
