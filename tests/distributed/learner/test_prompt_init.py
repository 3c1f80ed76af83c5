"""What prompts start as, and what is said where that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distributed.errors import UserError
from distributed.learner.prompt_init import make_source, with_absolute_start
from distributed.results.run_folder import open_run
from softprompt.prompts.init import random_rows
from softprompt.prompts.peft_io import save_prompt
from softprompt.prompts.residual import ResidualPrompts
from softprompt.prompts.ten import TerrainEmbeddingNetwork
from terrains.base import Terrain
from tests.accuracy import assert_rounded
from tests.distributed.finished_runs import FITNESS
from tests.distributed.tiny_runs import config


@pytest.fixture(scope="module")
def lm(tiny_lm):
    return tiny_lm[0]


@pytest.fixture
def peft(lm, tmp_path) -> Path:
    rows = random_rows(lm.embedding, 3, torch.Generator().manual_seed(4)) * 7
    return save_prompt(tmp_path / "peft", rows, None)


def terrains(*names: str) -> list[Terrain]:
    return [Terrain(name, "", np.array([k, 1.0, 2.0, k], np.float32), name, 2) for k, name in enumerate(names)]


def start(lm, said: str | None = None, names: tuple[str, ...] = ("a", "e"), **settings) -> torch.Tensor:
    run = config(**({"method__initialize_from": said} if said else {}), **settings)
    with torch.no_grad():
        return make_source(run, lm, len(names), terrains(*names)).prompts().clone()


def test_a_text_and_a_file_with_it_are_its_tokens_again_and_again(lm, tmp_path):
    ids = lm.tokenizer("x = 12", add_special_tokens=False)["input_ids"]
    (tmp_path / "program.py").write_text("x = 12")
    for said in ("text:x = 12", str(tmp_path / "program.py")):
        rows = start(lm, said, method__n_soft_tokens=len(ids) + 1)
        assert torch.equal(rows[0], lm.embedding[ids + ids[:1]]) and torch.equal(rows[0], rows[1])


def test_a_saved_prompt_is_where_every_terrain_starts(lm, peft):
    rows = start(lm, str(peft))
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows, start(lm))
    ten = start(lm, str(peft), method__prompt_source="ten")
    assert torch.equal(ten, rows)


def test_norms_are_matched_where_that_is_asked_for(lm, peft):
    typical = lm.embedding.double().norm(dim=-1).mean()
    assert start(lm, str(peft)).norm(dim=-1).mean() > 5 * typical
    matched = start(lm, str(peft), method__match_norms=True)
    assert_rounded(matched.double().norm(dim=-1), typical.expand(2, 3))
    cosine = torch.nn.functional.cosine_similarity(matched.double(), start(lm, str(peft)).double(), dim=-1)
    assert_rounded(cosine, torch.ones(2, 3))
    assert_rounded(start(lm, method__match_norms=True).double().norm(dim=-1), typical.expand(2, 3))
    assert start(lm).norm(dim=-1).std() > 1e-2 * typical


def test_a_runs_prompts_go_to_the_terrains_of_their_names(lm, run):
    first, second = FITNESS
    rows = start(lm, str(run), (second, first), method__n_soft_tokens=4)
    saved = open_run(run).prompts
    assert np.array_equal(rows[0], saved[second]) and np.array_equal(rows[1], saved[first])


def test_sources_are_of_the_kind_that_is_asked_for_and_start_alike(lm):
    kinds = {
        "table": ({}, 2),
        "residual": ({"method__reparameterize": "residual"}, 2),
        "ten": ({"method__prompt_source": "ten", "ten__body": "conv"}, 1),
    }
    built = {name: make_source(config(**settings), lm, 2, terrains("a", "e")) for name, (settings, _) in kinds.items()}
    assert isinstance(built["residual"], ResidualPrompts) and isinstance(built["ten"], TerrainEmbeddingNetwork)
    assert torch.equal(built["residual"].prompts(), built["table"].prompts())
    assert [len(built[name].rows) for name in kinds] == [n for _, n in kinds.values()]
    assert torch.equal(built["ten"].prompts()[1], built["table"].prompts()[0])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("text:", "the text is empty"),
        ("{tmp}/empty.py", "is empty"),
        ("{tmp}/binary.py", "cannot read a text"),
        ("{tmp}/peftt", "did you mean peft?"),
        ("walks quickly", "there is no 'walks quickly'; a text is written text:..."),
        ("{tmp}", "holds no PEFT prompt (adapter_config.json) and no finished run"),
        ("{tmp}/damaged", "cannot read"),
        ("{run}", "has no prompt for a; it has tunnel"),
        ("{peft}", "has 3 rows of width 32; set method.n_soft_tokens to 3"),
    ],
)
def test_what_cannot_be_a_start_is_one_line_that_names_the_setting(lm, peft, run, tmp_path, said, words):
    (tmp_path / "empty.py").touch()
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "adapter_config.json").write_text("{")
    with pytest.raises(UserError) as error:
        start(lm, said.format(tmp=tmp_path, run=run, peft=peft), method__n_soft_tokens=4)
    assert str(error.value).startswith("method.initialize_from: ") and words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_prompt_of_another_width_is_refused(lm, tmp_path):
    save_prompt(tmp_path, torch.ones(3, 8), None)
    with pytest.raises(UserError, match="has 3 rows of width 8; the language model's are 32 wide"):
        start(lm, str(tmp_path))


def test_a_network_needs_features_and_one_prompt_to_start_from(lm, run):
    ten = config(method__prompt_source="ten")
    with pytest.raises(UserError, match="a ten needs terrains with features"):
        make_source(ten, lm, 2, [])
    odd = [*terrains("a"), Terrain("e", "", np.zeros(3, np.float32), "e")]
    with pytest.raises(UserError, match="equally many features"):
        make_source(ten, lm, 2, odd)
    with pytest.raises(UserError, match="a ten starts from one for all"):
        start(lm, str(run), method__prompt_source="ten", method__n_soft_tokens=4)


def test_a_path_is_found_from_any_directory_and_a_text_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [with_absolute_start(config(method__initialize_from=said)) for said in ("here", "text:here")]
    assert [each.method.initialize_from for each in paths] == [str(tmp_path / "here"), "text:here"]
    assert with_absolute_start(config()) == config()
