"""GGUF files become directories that transformers reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from softprompt.models.frozen import FrozenLM
from softprompt.models.gguf_file import check_gguf, convert_gguf
from tests.softprompt.tiny_gguf import write_gguf

pytest.importorskip("gguf")


def test_the_directory_has_the_numbers_and_the_tokens_of_the_file(tmp_path: Path) -> None:
    tensors = write_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "out").mkdir()
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "out")
    lm = FrozenLM.load(tmp_path / "out")
    state = lm.model.state_dict()
    assert np.array_equal(state["model.embed_tokens.weight"].numpy(), tensors["token_embd.weight"])
    assert np.array_equal(state["lm_head.weight"].numpy(), tensors["token_embd.weight"])  # tied
    down = state["model.layers.1.mlp.down_proj.weight"].numpy()
    assert np.array_equal(down, tensors["blk.1.ffn_down.weight"])
    # Merges go by their order in the file: e with e comes before s with e.
    ids = lm.tokenizer("we see", add_special_tokens=False)["input_ids"]
    assert lm.tokenizer.convert_ids_to_tokens(ids) == ["we", "\u0120", "s", "ee"]
    assert lm.tokenizer.decode(ids) == "we see"
    assert lm.eos_ids == (2,)


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"nothing of the kind")
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"bad\.gguf' holds no language model that can be read: .*GGUF") as error:
        convert_gguf(tmp_path / "bad.gguf", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").iterdir())


def test_a_file_whose_numbers_are_damaged(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", fill=float("nan"))
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="give no numbers"):
        convert_gguf(tmp_path / "tiny.gguf", tmp_path / "out")


def test_without_gguf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'terraprompt\[reviews\]'"):
        check_gguf()
