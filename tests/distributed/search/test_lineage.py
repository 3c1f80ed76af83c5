"""The record of a population: what it keeps, what it forgets, and its picture."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from distributed.search.family_tree import SIZE, draw_family_tree
from distributed.search.lineage import Record, describe_exploit


def entry(member: int, round_: int, n: int = 4, fitness: float = 1.0) -> dict:
    return {
        "member": member,
        "round": round_,
        "step": 2 * round_,
        "fitness": fitness,
        "settings": {SIZE: n, "optimizer.kwargs.lr": 0.05},
        "trained_on": 10,
    }


def copy(member: int, donor: int, step: int, sizes: tuple[int, int]) -> dict:
    return {
        "member": member,
        "donor": donor,
        "step": step,
        "from": sizes[0],
        "to": sizes[1],
        "changed": {SIZE: list(sizes)},
        "fitness_donor": 3.0,
        "kl_surgery": 0.5,
        "kl_distilled": 0.1,
        "fitness_surgery": 1.0,
        "fitness_distilled": 2.9,
    }


def filled(path) -> Record:
    record = Record(path)
    for k in (0, 1):
        record.add(entry(k, 1, n=(20, 4)[k], fitness=3.0 - k), None)
    record.add(entry(0, 2, n=20, fitness=4.0), None)
    record.add(entry(1, 2, n=8, fitness=3.5), copy(1, 0, 2, (20, 8)))
    return record


def test_a_copy_knows_who_was_copied_when_and_what_was_given_up(tmp_path):
    [exploit] = filled(tmp_path / "lineage.json").resizes
    assert (exploit["member"], exploit["at"], exploit["donor"], exploit["donor_at"]) == (1, 2, 0, 1)
    assert exploit["replaced"] == {"fitness": 2.0, "settings": {SIZE: 4, "optimizer.kwargs.lr": 0.05}}


def test_what_is_saved_is_read_back(tmp_path):
    record = filled(tmp_path / "lineage.json")
    record.mlflow["search"] = "abc"
    record.save()
    assert vars(Record(record.path)) == vars(record)


def test_rounds_made_again_take_the_place_of_those_that_were_lost(tmp_path):
    record = filled(tmp_path / "lineage.json")
    record.add(entry(0, 3), None)
    record.add(entry(0, 4), None)
    record.add(entry(0, 3, fitness=7.0), None)
    assert [each["round"] for each in record.rounds if each["member"] == 0] == [1, 2, 3]
    assert record.last(0)["fitness"] == 7.0 and record.last(0)["at"] == 3


def test_a_copy_made_again_is_one_copy_and_one_that_was_lost_is_none(tmp_path):
    record = filled(tmp_path / "lineage.json")
    record.add(entry(1, 2, n=8), copy(1, 0, 2, (20, 8)))
    assert len(record.exploits) == 1 and len(record.rounds) == 4
    record.add(entry(1, 2, n=4), None)
    assert record.exploits == []


def test_a_copy_may_lead_back_in_rounds(tmp_path):
    record = filled(tmp_path / "lineage.json")
    for k in (3, 4, 5):
        record.add(entry(0, k), None)
    record.add(entry(0, 3, n=2), copy(0, 1, 4, (8, 2)))
    record.add(entry(0, 4, n=2), None)
    assert [each["round"] for each in record.rounds if each["member"] == 0] == [1, 2, 3, 4, 5, 3, 4]
    assert [each["at"] for each in record.rounds if each["member"] == 0] == list(range(1, 8))


def test_survivors_are_counted_at_the_end(tmp_path):
    record = filled(tmp_path / "lineage.json")
    assert record.survivors(SIZE) == {"8": 1, "20": 1}


def test_lineage_is_told_as_a_line_a_table_and_a_picture(tmp_path):
    record = filled(tmp_path / "lineage.json")
    assert describe_exploit(record.exploits[0]) == (
        "member 1 copies member 0 at step 2: method.n_soft_tokens 20 -> 8; "
        "fitness 3.0, behind surgery 1.0, distilled 2.9"
    )
    console = Console(width=120, record=True, file=StringIO())
    console.print(record.table())
    assert "20 -> 8   0.500   0.100       3.0   1.0    2.9" in console.export_text()
    picture = draw_family_tree(record, tmp_path / "tree.png")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000
