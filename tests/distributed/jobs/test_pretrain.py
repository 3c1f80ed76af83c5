"""``terraprompt pretrain`` goes on where it was interrupted, and refuses to go on with something else."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file

from distributed.cli import main
from distributed.errors import UserError
from distributed.infra.locking import LOCK, locked
from distributed.jobs import pretrain as pretrain_command
from distributed.jobs.pretrain import TRAINING, pretrain
from distributed.jobs.pretrain_card import training_commands
from distributed.jobs.pretrain_options import hinted_share
from softprompt.pretrain.config import PretrainConfig, preset
from softprompt.pretrain.prefixes import PrefixConfig
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.world import SodaraceWorld, WorldConfig
from tests.distributed.full_disk import full_disk, limit

PROGRAMS = [f"{text.rstrip()}  # {number}\n" for text in SEEDS.values() for number in range(60)]
SETTINGS = PretrainConfig(
    hidden_size=32, layers=1, heads=2, intermediate_size=32, vocab_size=300, steps=6, batch_size=8, max_tokens=512,
    prefixes=PrefixConfig(slots=2, max_rows=4),
)  # fmt: skip
FIGURES = {
    "samples": 1, "valid": 0.0, "moving": 0.0, "unique": 1.0, "median_tokens": 5,
    "tuned_on_one_program": {"0": 1.0, "50": 0.5, "100": 0.4, "150": 0.3},
    "fitness": {"flat": {"mean": 0.0, "best_of_1": 0.0}},
    "behind_untrained_prompts": {"vocabulary": {"1": 0.0}},
}  # fmt: skip


@pytest.fixture
def world(monkeypatch):
    """Looks after every second step, at few programs; the figures of the card have tests of their own."""
    monkeypatch.setattr(pretrain_command, "CHECK_EVERY", 2)
    monkeypatch.setattr(pretrain_command, "LOOKED_AT", 4)
    monkeypatch.setattr(pretrain_command, "TUNED_FOR", (0, 1, 3))
    monkeypatch.setattr(pretrain_command, "measure_model", lambda *_, **__: FIGURES)
    with SodaraceWorld(WorldConfig(seconds=1)) as world:
        yield world


def run(world, out: Path, settings: PretrainConfig = SETTINGS, **more) -> int:
    return pretrain(PROGRAMS, {}, world, ["flat"], settings, out, Console(quiet=True), **more)


def test_interrupted_training_goes_on_bit_for_bit(world, tmp_path, monkeypatch):
    assert run(world, tmp_path / "whole") == 0

    look, asked = pretrain_command.Training._look, []

    def interrupted(self):
        asked.append(self.stage.step)
        if len(asked) == 2:
            signal.raise_signal(signal.SIGINT)
        return look(self)

    monkeypatch.setattr(pretrain_command.Training, "_look", interrupted)
    assert run(world, tmp_path / "parts") == 130
    assert (tmp_path / "parts" / TRAINING).is_dir() and not (tmp_path / "parts" / "card.json").exists()
    assert run(world, tmp_path / "parts") == 0
    assert asked == [2, 4, 6] and not (tmp_path / "parts" / TRAINING).exists()
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all((whole[name] == parts[name]).all() for name in whole)
    looks = [
        json.loads((tmp_path / n / "card.json").read_text())["held_out_nats_per_program"] for n in ("whole", "parts")
    ]
    assert looks[0] == looks[1] and {"valid", "unique", "alone"} <= set(looks[0]["6"])


def test_interrupted_training_is_not_mixed_with_another(world, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*_, **__):
        raise Stopped

    monkeypatch.setattr(pretrain_command, "measure_model", stop)
    with pytest.raises(Stopped):
        run(world, tmp_path)
    other = SETTINGS.model_copy(update={"seed": 1})
    with pytest.raises(UserError, match="had other settings; go on with those, or --fresh"):
        run(world, tmp_path, other)
    (tmp_path / TRAINING / "checkpoint_000006" / "state.json").write_text("{}")
    with pytest.raises(UserError, match="damaged.*--fresh begins anew"):
        run(world, tmp_path)
    with pytest.raises(Stopped):
        run(world, tmp_path, other, fresh=True)


def test_training_begun_before_there_were_hints_goes_on_and_other_hints_are_refused(world, tmp_path):
    def training(settings=SETTINGS, hints=None):
        return pretrain_command.Training(PROGRAMS, world, "flat", settings, tmp_path, None, hints=hints)

    begun = training()
    next(begun.stage.train())
    del begun._of["hints"], begun._of["settings"]["prefixes"]["hinted"]
    begun._save()
    assert training().stage.step == 1
    with pytest.raises(UserError, match="had other hints; go on with those"):
        training(hints=PROGRAMS)
    with pytest.raises(UserError, match="had other settings and hints"):
        training(hinted_settings(), hints=PROGRAMS)


def hinted_settings(share: float = 0.4) -> PretrainConfig:
    return SETTINGS.model_copy(update={"prefixes": SETTINGS.prefixes.model_copy(update={"hinted": share})})


def test_the_card_tells_the_command_with_its_hints(world, tmp_path):
    told = pretrain(
        PROGRAMS, {"hints": "neighbour"}, world, ["flat"], hinted_settings().model_copy(update={"steps": 2}),
        tmp_path, Console(quiet=True), hints=[*PROGRAMS[1:], PROGRAMS[0]],
    )  # fmt: skip
    assert told == 0 and "--hints neighbour --hinted 0.4\n" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    "options, said",
    [
        (["--hints", "neighbor"], "--hints: there is no neighbor; did you mean neighbour?"),
        (["--hints", "sisters"], "--hints: there is no sisters; there are relative, neighbour, descriptors"),
        (["--hinted", "0.2"], "--hinted: say by --hints which hints: relative, neighbour, descriptors"),
        (["--hints", "relative"], "--hints relative: the corpus does not tell who came from whom"),
        (["--hints", "descriptors"], "--hints descriptors: the corpus does not tell every walker's height"),
    ],
)
def test_wrong_hints_are_one_line(options, said, tmp_path, capsys):
    corpus = tmp_path / "old.jsonl"
    rows = ({"program": text, "style": "truss", "fitness": {"flat": 1.0}} for text in PROGRAMS)
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit) as end:
        main(["pretrain", "--corpus", str(corpus), "--out", str(tmp_path / "lm"), *options])
    told = capsys.readouterr().err
    assert end.value.code == 2 and said in told and len(told.splitlines()) == 1


def test_half_of_the_steps_that_would_tune_go_to_hints_unless_their_share_is_given():
    assert hinted_share(PrefixConfig(), None) == 0.25
    assert hinted_share(PrefixConfig(none=0.85), None) == 0.0
    assert hinted_share(PrefixConfig(), 0.4) == 0.4


def test_misspelt_preset_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["pretrain", "--preset", "smal", "--corpus", str(tmp_path / "none.jsonl")])
    assert end.value.code == 2
    assert "--preset: there is no smal; did you mean small?" in capsys.readouterr().err


def test_the_card_tells_what_differs_from_the_preset():
    settings = preset("base", accumulate=1, batch_size=128, steps=10).model_dump(mode="json")
    card = {"start": None, "pretrain": settings, "corpus": {}}
    (command,) = training_commands(card)
    assert command.endswith("--out data/lm --preset base --steps 10 --batch-size 128 --accumulate 1")
    del settings["accumulate"], settings["batch_size"]
    assert training_commands(card)[0].endswith("--preset base --steps 10")


def test_size_and_parts_of_a_batch_can_be_given(tmp_path, monkeypatch):
    corpus, seen = tmp_path / "corpus.jsonl", []
    rows = ({"program": text, "style": "truss", "fitness": {"flat": 1.0}} for text in PROGRAMS)
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("distributed.jobs.pretrain_options.pretrain", lambda *arguments: seen.append(arguments[4]) or 0)
    with pytest.raises(SystemExit) as end:
        main(["pretrain", "--corpus", str(corpus), "--preset", "base", "--batch-size", "64", "--accumulate", "2"])
    assert end.value.code == 0 and (seen[0].batch_size, seen[0].accumulate, seen[0].bfloat16) == (64, 2, True)


def test_a_full_disk_is_one_line_and_the_training_goes_on(world, tmp_path, monkeypatch):
    assert run(world, tmp_path / "whole") == 0
    look, asked = pretrain_command.Training._look, []

    def filling(self):
        asked.append(self.stage.step)
        if len(asked) == 2:
            limit(3000)
        return look(self)

    with monkeypatch.context() as patch, full_disk(None):
        patch.setattr(pretrain_command.Training, "_look", filling)
        with pytest.raises(
            UserError, match=r"cannot write .*parts.*File too large; raise .*; the same command goes on"
        ):
            run(world, tmp_path / "parts")
    assert not list((tmp_path / "parts").rglob(".unfinished_*")) and not (tmp_path / "parts" / LOCK).exists()
    load_file(tmp_path / "parts" / "model.safetensors")
    assert run(world, tmp_path / "parts") == 0
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all((whole[name] == parts[name]).all() for name in whole)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_every_signal_keeps_what_was_learnt(world, tmp_path, monkeypatch, number):
    look = pretrain_command.Training._look

    def interrupted(self):
        signal.raise_signal(number)
        return look(self)

    before = signal.signal(number, lambda *_: None)  # the process of the tests survives what is not handled
    try:
        monkeypatch.setattr(pretrain_command.Training, "_look", interrupted)
        assert run(world, tmp_path) == 128 + number
    finally:
        signal.signal(number, before)
    assert (tmp_path / TRAINING).is_dir()


def test_two_trainings_do_not_share_a_directory(world, tmp_path):
    with locked(tmp_path):
        (tmp_path / TRAINING).mkdir()
        with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on"):
            run(world, tmp_path, fresh=True)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [LOCK, TRAINING]
