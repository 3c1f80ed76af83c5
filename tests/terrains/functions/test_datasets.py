"""Data sets of Hugging Face: folders that it saved, and its hub. Without the package only what is said is tested."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from terrains.errors import WorldError
from terrains.functions.config import FunctionsConfig
from terrains.functions.data_files import read_rows
from terrains.functions.world import FunctionsWorld

HAS = importlib.util.find_spec("datasets") is not None
FIELDS = {"prompt": ["2+3=", "4+4=", "1+1="], "answer": [5, 8, 2]}


def test_a_folder_is_read_row_by_row_and_scored_by_its_fields(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict(FIELDS).save_to_disk(tmp_path / "sums")
    rows = read_rows(str(tmp_path / "sums"), limit=2)
    assert [fields for _, fields in rows] == [{"prompt": "2+3=", "answer": 5}, {"prompt": "4+4=", "answer": 8}]
    assert rows[1][0].endswith("sums, row 2")
    terrains = {"sums": {"data": str(tmp_path / "sums")}}
    world = FunctionsWorld(FunctionsConfig.model_validate({"reward": "numeric_match", "terrains": terrains}))
    found = [(each.text, each.metadata["answer"]) for each in world.terrain("sums").instructions]
    assert found == list(zip(*FIELDS.values(), strict=True))


def test_of_several_splits_it_is_train_or_the_folder_that_is_named(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict(FIELDS)
    datasets.DatasetDict({"train": rows, "test": rows.select([2])}).save_to_disk(tmp_path / "both")
    datasets.DatasetDict({"test": rows.select([2])}).save_to_disk(tmp_path / "one")
    assert len(read_rows(str(tmp_path / "both"))) == 3
    assert [fields["answer"] for _, fields in read_rows(str(tmp_path / "both" / "test"))] == [2]
    with pytest.raises(WorldError, match="one: has no split 'train', but test: name the folder of one"):
        read_rows(str(tmp_path / "one"))


def test_a_damaged_folder_is_one_line(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict(FIELDS).save_to_disk(tmp_path / "sums")
    (tmp_path / "sums" / "state.json").unlink()
    with pytest.raises(WorldError) as raised:
        read_rows(str(tmp_path / "sums"))
    assert str(raised.value).startswith(f"{tmp_path / 'sums'}: ") and "\n" not in str(raised.value)


def test_a_hub_that_does_not_answer_is_one_line_with_the_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def unreachable(*_args: object, **_options: object) -> None:
        raise ConnectionError("Couldn't reach 'sums' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(WorldError, match="hf:sums: Couldn't reach 'sums' on the Hub; where there is no network"):
        read_rows("hf:sums")


def test_a_folder_of_something_else_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="is a folder, and none that Hugging Face datasets saved"):
        read_rows(str(tmp_path))


@pytest.mark.skipif(HAS, reason="says what is said without the package")
def test_without_the_package_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    for path in ("hf:sums", str(tmp_path)):
        with pytest.raises(WorldError, match="pip install datasets"):
            read_rows(path)
