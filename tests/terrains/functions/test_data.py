"""Data files: instructions and metadata from every format, and mistakes named by their line."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pytest

from terrains.errors import WorldError
from terrains.functions.config import TerrainConfig
from terrains.functions.instructions import make_instructions

ROWS = [{"q": "2+3", "answer": 5}, {"q": "4+4", "answer": 8}]


def write(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    (folder / "a.jsonl").write_text('{"q": "2+3", "answer": 5}\n\n{"q": "4+4", "answer": 8}\n')
    (folder / "a.json").write_text('[{"q": "2+3", "answer": 5}, {"q": "4+4", "answer": 8}]')
    (folder / "a.csv").write_text("q,answer\n2+3,5\n4+4,8\n")
    (folder / "a.tsv").write_text("q\tanswer\n2+3\t5\n4+4\t8\n")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "a.parquet")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_instructions(tmp_path: Path, kind: str) -> None:
    write(tmp_path)
    config = TerrainConfig(data=str(tmp_path / f"a.{kind}"), template="Q: {q}\nA:", limit=2)
    train, evaluation = make_instructions("t", config)
    assert [each.text for each in train] == ["Q: 2+3\nA:", "Q: 4+4\nA:"] and evaluation == ()
    assert [str(each.metadata["answer"]) for each in train] == ["5", "8"]


def test_data_are_set_aside_by_seed_and_share_no_text() -> None:
    config = TerrainConfig(instructions=[str(i % 20) for i in range(40)], eval_fraction=0.25)
    train, evaluation = make_instructions("t", config, 1)
    texts = {each.text for each in evaluation}
    assert len(texts) == 5 and len(evaluation) == 10 and not texts & {each.text for each in train}
    assert make_instructions("t", config, 1) == (train, evaluation) != make_instructions("t", config, 2)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("b.jsonl", '{"q": "a"}\n{"q": \n', "b.jsonl:2: is not JSON"),
        ("b.jsonl", '{"q": "a"}\n{"qq": "b"}\n', "b.jsonl:2: has no field 'q'; did you mean qq?"),
        ("b.jsonl", "[1]\n", "b.jsonl:1: is a list, and not an object"),
        ("b.jsonl", '{"q": ""}\n', "b.jsonl:1: 'q' is empty"),
        ("b.jsonl", "\n", "b.jsonl: holds no rows"),
        ("b.csv", "q,a\n1,2\n1\n", "b.csv:3: 1 cells, where the first line names 2"),
        ("b.csv", "q,a,q\n1,2,3\n", "b.csv: has two columns 'q'; rename one"),
        ("b.tsv", "q\t\t\n1\t2\t3\n", "b.tsv: has two columns ''; rename one"),
        ("b.jsonl", '{"q": "a", "q": "b"}\n', "b.jsonl:1: is not JSON: 'q' is there twice"),
        ("b.jsonl", '{"q": "a"}\n{"q": "\\ud83d"}\n', "b.jsonl:2: 'q' has half of a character"),
        ("b.parquet", "no", "b.parquet: is not a Parquet file"),
        ("b.xls", "no", "b.xls: a data file ends in one of"),
        ("b.jsonl", '{"q": "a", "outputs": 1}\n', "terrain 't': a field is called 'outputs'"),
    ],
)
def test_a_mistake_is_named_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    with pytest.raises(WorldError) as raised:
        make_instructions("t", TerrainConfig(data=name, instruction_field="q"))
    assert str(raised.value).startswith(said)


FIRST_DAY = datetime.date(2024, 1, 1)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (FIRST_DAY, "2024-01-01"),
        (datetime.datetime(2024, 1, 1, 12), "2024-01-01T12:00:00"),
        (datetime.timedelta(minutes=1), 60.0),
        (decimal.Decimal("1.5"), 1.5),
        ({"a", "b"}, ["a", "b"]),
        ([{"day": FIRST_DAY}], [{"day": "2024-01-01"}]),
    ],
)
def test_metadata_are_as_a_run_keeps_them(value: Any, kept: Any, tmp_path: Path) -> None:
    config = TerrainConfig(instructions=({"prompt": "x", "field": value},))
    (found,), _ = make_instructions("t", config)
    assert json.loads(json.dumps(dict(found.metadata))) == {"field": kept}


def test_metadata_that_no_run_can_keep_are_named() -> None:
    rows = ({"prompt": "x", "picture": b"\xff"},)
    with pytest.raises(WorldError, match=r"instructions\[0\]: 'picture' is 'bytes'.* under fields"):
        make_instructions("t", TerrainConfig(instructions=rows))
    (found,), _ = make_instructions("t", TerrainConfig(instructions=rows, fields=()))
    assert found.metadata == {}


@pytest.mark.parametrize("path", ["~nobody_of_that_name/a.jsonl", "a" * 5000 + ".jsonl"])
def test_a_path_that_cannot_be_is_said_in_one_line(path: str) -> None:
    with pytest.raises(WorldError) as raised:
        make_instructions("t", TerrainConfig(data=path))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_a_parquet_file_with_two_columns_of_a_name_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["prompt", "prompt"])
    pyarrow.parquet.write_table(table, tmp_path / "two.parquet")
    with pytest.raises(WorldError, match="two.parquet: has two columns 'prompt'; rename one"):
        make_instructions("t", TerrainConfig(data=str(tmp_path / "two.parquet")))


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("prompt,answer\n" + "x" * 300_000 + ",1\n")
    (found,), _ = make_instructions("t", TerrainConfig(data=str(tmp_path / "long.csv")))
    assert len(found.text) == 300_000


def test_braces_of_a_template_are_fields_of_any_name_or_text() -> None:
    row = {"prompt": "x", "my field": "y"}
    config = TerrainConfig(instructions=(row,), template='{my field}: {"a": {prompt}} {}')
    assert make_instructions("t", config)[0][0].text == 'y: {"a": x} {}'
    for wrong in ("{prompt:>10}", "{prompt!r}", "{ prompt }"):
        with pytest.raises(WorldError, match=r"write \{prompt\}, a field's name alone"):
            make_instructions("t", TerrainConfig(instructions=(row,), template=wrong))
    with pytest.raises(WorldError, match="did you mean prompt"):
        make_instructions("t", TerrainConfig(instructions=(row,), template="{promt}"))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{prompt} {{prompt}}", "x {prompt}"),
        ("{prompt} {{my field}} {{name}}", "x {my field} {name}"),
        ("{{{prompt}}}", "{x}"),
        ('{prompt} {{"a": 1}} {{}} {{a: b}}', 'x {{"a": 1}} {{}} {{a: b}}'),
    ],
)
def test_two_braces_stand_for_one(template: str, text: str) -> None:
    rows = ({"prompt": "x", "my field": "y"},)
    assert make_instructions("t", TerrainConfig(instructions=rows, template=template))[0][0].text == text


def test_a_template_whose_only_field_is_in_two_braces_is_refused() -> None:
    with pytest.raises(WorldError, match=r"has \{\{prompt\}\}, which is the text \{prompt\}, and no field; write"):
        make_instructions("t", TerrainConfig(instructions=({"prompt": "x"},), template="Q: {{prompt}}"))
