"""What a search keeps on a disk: it may be moved, copied or damaged. No Ray is started here."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune import Checkpoint, Trainable
from ray.tune.experiment import Trial

from distributed.checkpoint.manager import TENSORS, save_checkpoint
from distributed.errors import UserError
from distributed.search.callback import LineageCallback
from distributed.search.checkpoints import best_of, check_restorable, last_good
from distributed.search.lineage import FILE, Record
from distributed.search.schedulers import FaultTolerantPBT
from distributed.search.trainable import DAMAGED, INHERITED, MemberTrial
from distributed.search.tuner import make_tuner
from tests.distributed.tiny_search import FIRST, member_of, population, search_config

MEMBER = "member-03"


@pytest.fixture(scope="module")
def people(tiny_lm):
    torch.set_num_threads(1)
    return population(search_config(train__total_steps=4, search__interval=1), tiny_lm[0])


@pytest.fixture
def trial_of(people, tmp_path, monkeypatch) -> Any:
    """Makes a member as Tune does, with the number 3, but in this process."""
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "logs"))
    monkeypatch.setattr(MemberTrial, "trial_id", "abc_00003")

    class Tiny(MemberTrial):
        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config, population=people)

    return lambda: Tiny(dict(FIRST))


@pytest.fixture(scope="module")
def made(people, tiny_lm, tmp_path_factory) -> Path:
    """Checkpoints behind each of three rounds of a member, in folders as Tune has them."""
    folder = tmp_path_factory.mktemp("search") / "tune" / MEMBER
    member = member_of(people, tiny_lm[0], 3)
    for k in range(3):
        member.round()
        save_checkpoint(folder / f"checkpoint_{k:06d}", member.loop.step, member.state_dict())
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Iterator[Path]:
    """A copy of these checkpoints that may be damaged."""
    shutil.copytree(made.parent, tmp_path / "tune")
    yield tmp_path / "tune" / MEMBER


def damage(checkpoint: Path) -> None:
    [file] = checkpoint.glob(f"*/{TENSORS}")
    file.write_bytes(file.read_bytes()[:-8] + b"\0damage\0")


def test_a_member_goes_on_from_its_last_good_checkpoint_and_says_which_it_passed_over(trial_of, folder):
    damage(folder / "checkpoint_000002")
    whole, other = trial_of(), trial_of()
    whole.load_checkpoint(str(folder / "checkpoint_000001"))
    other.load_checkpoint(str(folder / "checkpoint_000002"))
    assert other.iteration == 2 and other._member.loop.step == 2
    results = whole.step(), other.step()
    assert results[1][DAMAGED] == f"{MEMBER}/checkpoint_000002" and results[0][DAMAGED] == ""
    assert results[0] | {DAMAGED: ""} == results[1] | {DAMAGED: ""}
    assert results[1][INHERITED] is None and results[1]["step"] == 3
    assert other.step()[DAMAGED] == ""


def test_a_member_without_a_good_checkpoint_begins_anew(trial_of, folder):
    for each in folder.iterdir():
        damage(each)
    begun, anew = trial_of(), trial_of()
    anew.load_checkpoint(str(folder / "checkpoint_000002"))
    assert anew.iteration == 0
    first, again = begun.step(), anew.step()
    assert again[DAMAGED].split() == [f"{MEMBER}/checkpoint_{k:06d}" for k in (2, 1, 0)]
    assert first | {DAMAGED: ""} == again | {DAMAGED: ""} and first["step"] == 1


def test_a_checkpoint_that_is_gone_is_a_damaged_one(trial_of, folder):
    gone = folder / "checkpoint_000002"
    shutil.rmtree(gone)
    member = trial_of()
    member.restore(_TrainingResult(checkpoint=Checkpoint(str(gone)), metrics={"training_iteration": 3}))
    assert member.iteration == 2 and member.step()[DAMAGED] == f"{MEMBER}/checkpoint_000002"


def test_the_best_is_found_among_checkpoints_that_can_be_read(folder):
    fitness = {k: float(last_good(folder / f"checkpoint_{k:06d}").state["fitness"].mean()) for k in range(3)}
    best = max(fitness, key=fitness.get)
    assert best_of(folder.parent).state["loop"]["step"] == best + 1
    damage(folder / f"checkpoint_{best:06d}")
    del fitness[best]
    found = best_of(folder.parent)
    assert found.damaged == (f"{MEMBER}/checkpoint_{best:06d}",)
    assert found.state["loop"]["step"] == max(fitness, key=fitness.get) + 1
    for each in folder.iterdir():
        shutil.rmtree(each)
        each.mkdir()
    assert best_of(folder.parent).state is None and len(best_of(folder.parent).damaged) == 3


def trial(folder: Path, number: int = 3) -> Trial:
    """A trial of Tune's in a search that lies in a folder."""
    storage = StorageContext(storage_path=str(folder), experiment_dir_name="tune")
    return Trial("x", config={"a": 1}, trial_id=f"abc_{number:05d}", stub=True, storage=storage)


class Idle(Trainable):
    """A trainable for a search that is not run."""


def test_what_tune_pickles_does_not_say_where_the_search_lies(tmp_path):
    here = tmp_path / "original"
    config = search_config(search__total_rounds=5)
    make_tuner(config, here, Idle, slots=1)
    saved = pickle.loads((here / "tune/tuner.pkl").read_bytes())
    ours = {name: value for name, value in vars(saved["_run_config"]).items() if name != "storage_path"}
    for part in (ours, saved["_tune_config"]):
        assert str(here).encode() not in pickle.dumps(part)
    [watcher], budget = ours["callbacks"], ours["stop"]
    there = tmp_path / "copy"
    there.mkdir()
    Record(there / FILE).save()
    rounds = {"training_iteration": 1, "step": 1, "fitness": 2.0, "valid": 1.0, "settings": {}, "trained_on": 4}
    for k in range(5):
        assert not budget.stop_all()
        watcher.on_trial_result(k, [], trial(there, k), dict(rounds))
    assert budget.stop_all()
    assert len(Record(there / FILE).rounds) == 5 and not (here / FILE).exists()


def test_damaged_checkpoints_are_counted_once_in_the_record(tmp_path, caplog):
    Record(tmp_path / FILE).save()
    result = {"training_iteration": 1, "step": 1, "fitness": 2.0, "valid": 1.0, "settings": {}, "trained_on": 4}
    watcher = LineageCallback(search_config())
    for _ in range(2):
        watcher.on_trial_result(0, [], trial(tmp_path), result | {DAMAGED: "member-03/checkpoint_000001"})
    assert Record(tmp_path / FILE).damaged == ["member-03/checkpoint_000001"]
    assert caplog.text.count("member-03/checkpoint_000001 is damaged and was passed over") == 1


def test_a_copys_member_that_took_over_another_goes_on_from_the_copys_files(tmp_path):
    heir = trial(tmp_path / "copy")
    taken = Checkpoint(str(tmp_path / "original/tune/member-07/checkpoint_000004"))
    heir.run_metadata.checkpoint_manager._latest_checkpoint_result = _TrainingResult(checkpoint=taken, metrics={})
    scheduler = FaultTolerantPBT(
        1, time_attr="training_iteration", metric="fitness", mode="max", hyperparam_mutations={"a": [1, 2]}
    )
    scheduler._slots = None  # there are no processes to keep
    scheduler.on_trial_add(SimpleNamespace(search_alg=None), heir)
    assert heir.checkpoint.path == str(tmp_path / "copy/tune/member-07/checkpoint_000004")


def test_a_damaged_state_of_tunes_is_one_line(tmp_path):
    (tmp_path / "experiment_state-2026.json").write_text('{"trial_data": [')
    with pytest.raises(UserError, match="experiment_state-2026.json is damaged") as error:
        check_restorable(tmp_path)
    assert "\n" not in str(error.value)


def test_a_damaged_record_is_one_line(tmp_path):
    (tmp_path / FILE).write_text('{"rounds": [')
    with pytest.raises(UserError, match="lineage.json is damaged") as error:
        Record(tmp_path / FILE)
    assert "\n" not in str(error.value)
