"""The corpus: its settings, its file, and ELM's filter."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from terrains.sodarace.map_elites.corpus import CorpusConfig, CorpusProgram, above, read_corpus, write_corpus


def entry(number, share=1.0):
    return CorpusProgram(
        f"import math\n# {number}", "grid", {"flat": 1.5 * number}, number, (1, 2), ("numbers", "graft"),
        {"height": 1.0, "width": 2.0, "mass": 3.0}, 7, {"flat": 30.0}, share,
    )  # fmt: skip


def test_corpus_survives_its_file(tmp_path):
    kept = [entry(k) for k in range(5)]
    path = tmp_path / "made" / "corpus.jsonl"
    write_corpus(path, kept)
    assert read_corpus(path) == kept
    assert [p.name for p in path.parent.iterdir()] == ["corpus.jsonl"], "no half-written file stays behind"
    write_corpus(path, kept[:3])
    assert read_corpus(path) == kept[:3]


def test_what_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no corpus at"):
        read_corpus(tmp_path / "missing.jsonl")
    texts = {"broken": "{", "other": json.dumps({"program": "import math"}) + "\n", "list": "[1]\n"}
    texts["number"] = json.dumps({"program": "", "style": "", "fitness": {}, "parents": 3})
    for name, text in texts.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a corpus"):
            read_corpus(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match="is not a corpus"):
        read_corpus(path)


def test_the_filter_keeps_those_at_or_above_a_share():
    programs = [entry(k, share) for k, share in enumerate([0.5, 0.79, 0.8, 1.0])]
    assert [p.id for p in above(programs, 0.8)] == [2, 3]
    assert above(programs, 0.0) == programs


def test_terrains_are_those_of_all_groups_once():
    config = CorpusConfig(groups=(("left_wall", "bumpy"), ("bumpy", "tunnel")))
    assert config.terrains == ("left_wall", "bumpy", "tunnel")
    assert list(config.named_groups) == ["left_wall, bumpy", "bumpy, tunnel"]
    with pytest.raises(ValidationError, match="every group needs a terrain"):
        CorpusConfig(groups=((),))
