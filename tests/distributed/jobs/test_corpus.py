"""``terraprompt corpus``: one command, which goes on where it stopped and says what it left out."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
from pathlib import Path

import pytest
from rich.console import Console

from distributed.cli import main
from distributed.errors import UserError
from distributed.infra.locking import locked
from distributed.jobs.corpus.card import command
from distributed.jobs.corpus.ray_evaluator import RayEvaluator
from distributed.jobs.corpus.run import build_corpus
from terrains.sodarace.map_elites.archive import NicheConfig
from terrains.sodarace.map_elites.corpus import CorpusConfig, CorpusProgram, read_corpus, write_corpus
from terrains.sodarace.map_elites.evaluation import WorldEvaluator
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.sandbox import SandboxLimits
from terrains.sodarace.world import SodaraceWorld, WorldConfig
from tests.distributed.full_disk import full_disk
from tests.terrains.sodarace.luck import Luck

RULES = WorldConfig(cache=0, limits=SandboxLimits(seconds=0.5))


def config(**given):
    return CorpusConfig(**{"evaluations": 300, "programs": 100, "generation": 50, "drawn_first": 100} | given)


def build(out, evaluator=None, terminal=False, **given):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=160)
    return build_corpus(evaluator or Luck(), config(**given), ["physics"], out, console), stream.getvalue()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["corpus", *arguments])
    return end.value.code or 0


def test_the_card_counts_everything(tmp_path: Path) -> None:
    card, _ = build(tmp_path / "corpus.jsonl")
    corpus = read_corpus(tmp_path / "corpus.jsonl")
    assert card == json.loads((tmp_path / "corpus.card.json").read_text())
    assert card["programs"] == len(corpus) == 100
    assert card["tried"] == len(corpus) + sum(card["left_out"].values())
    assert card["evaluated"] == 300
    assert card["programs"] < card["valid"] < 300
    assert card["command"] == "terraprompt corpus --out data/corpus.jsonl --programs 100 --evaluations 300"
    assert set(card["coverage"]) == set(card["qd_score"]) == {"left_wall", "right_wall", "tunnel", "bumpy"}
    best = max(p.fitness["tunnel"] for p in corpus)
    assert card["fitness"]["tunnel"]["best"] == best
    assert card["correlations"]["tunnel"]["tunnel"] == 1.0
    assert card["numbers"]["most"] <= config().max_numbers


def test_a_log_gets_a_line_a_generation_and_a_terminal_a_bar(tmp_path: Path) -> None:
    _, plain = build(tmp_path / "a.jsonl")
    lines = plain.splitlines()
    assert len(lines) == 6
    assert (
        lines[0].startswith("50 evaluated")
        and " valid" in lines[0]
        and "coverage" in lines[0]
        and "QD score" in lines[-1]
    )
    _, bar = build(tmp_path / "b.jsonl", terminal=True)
    assert "300/300" in bar and "QD score" in bar


class Interrupting(Luck):
    """Sends this process a signal when its patience ends."""

    def judge(self, program):
        if len(self.asked) > self.patience:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().judge(program)

    def evaluate(self, chunks):
        for chunk in chunks:
            self.asked += chunk
            yield [self.judge(program) for program in chunk]


def test_an_interrupted_command_writes_what_there_is_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "corpus.jsonl"
    card, _ = build(out, Interrupting(patience=180))
    assert card["interrupted"] == signal.SIGTERM
    assert card["evaluated"] == 150
    assert read_corpus(out)
    card, told = build(out)
    assert "going on after 150 evaluations" in told
    whole, _ = build(tmp_path / "whole.jsonl")
    assert card["interrupted"] is None
    assert {**card, "seconds": 0} == {**whole, "seconds": 0}
    assert read_corpus(out) == read_corpus(tmp_path / "whole.jsonl")


def test_a_run_interrupted_before_its_first_generation_leaves_an_earlier_corpus_alone(tmp_path: Path) -> None:
    out = tmp_path / "corpus.jsonl"
    out.write_text("an earlier corpus")
    card, _ = build(out, Interrupting(patience=0))
    assert card["programs"] == 0
    assert out.read_text() == "an earlier corpus"


def test_the_command_of_a_card_makes_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CorpusConfig(
        programs=7, evaluations=9, groups=(("flat", "bumpy(amplitude=4, seed=3)"), ("tunnel",)), seed=2,
        max_numbers=30, niches=NicheConfig(keep_above=0.25),
    )  # fmt: skip
    asked = []
    monkeypatch.setattr("distributed.jobs.corpus.run.run_corpus", lambda config, *rest: asked.append(config) or 0)
    for each in (settings, CorpusConfig()):
        assert run(*shlex.split(command(each))[2:]) == 0
    assert asked == [settings, CorpusConfig()]


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus.jsonl"
    for arguments, words in {
        ("--group", "left_wal"): "did you mean 'left_wall'?",
        ("--group", " , "): "--group: needs a terrain's name",
        ("--group", "bumpy(amplitud=3)"): "amplitude",
    }.items():
        assert run("--out", str(out), "--no-ray", *arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert run("--out", str(tmp_path), "--no-ray", "--evaluations", "10") == 2
    assert "is a directory" in capsys.readouterr().err
    assert not out.exists()


def test_the_command_makes_a_corpus_and_says_when_it_is_small(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "corpus.jsonl"
    small = ["--out", str(out), "--no-ray", "--evaluations", "40", "--group", "flat, bumpy(amplitude=4, seed=3)"]
    assert run(*small) == 0
    told = capsys.readouterr().out
    assert "of 40 evaluated" in told and "fewer than the 50,000" in told
    corpus = read_corpus(out)
    assert set(corpus[0].fitness) == {"flat", "bumpy(amplitude=4, seed=3)"}
    assert run(*small) == 0, "what is there already is not made again"
    assert "going on after 40 evaluations" in capsys.readouterr().out
    assert read_corpus(out) == corpus
    assert run(*small, "--seed", "1") == 2
    error = capsys.readouterr().err
    assert "begun with seed = 0, not 1; --fresh" in error and error.count("\n") == 1
    assert run(*small, "--seed", "1", "--fresh") == 0
    assert read_corpus(out) != corpus


def test_a_filter_that_leaves_nothing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus.jsonl"
    write_corpus(out, [CorpusProgram("import math\n", "grid", {"flat": 9.0}, share=0.7)])
    with pytest.raises(SystemExit) as end:
        main(["pretrain", "--corpus", str(out), "--out", str(tmp_path / "lm"), "--above", "0.8"])
    assert end.value.code == 2
    assert "--above: no program of" in capsys.readouterr().err


def test_ray_tasks_evaluate_as_this_process_does(local_ray: None) -> None:
    chunks = [list(SEEDS.values())[:2], ["import math\n"], [], list(SEEDS.values())[2:4]] * 3
    terrains = ("flat", "bumpy")
    world = SodaraceWorld(RULES)
    try:
        here = list(WorldEvaluator(world, terrains).evaluate(chunks))
    finally:
        world.close()
    assert list(RayEvaluator(RULES, terrains).evaluate(chunks)) == here
    assert [len(found) for found in here] == [len(chunk) for chunk in chunks]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_every_signal_writes_what_there_is(tmp_path: Path, number: int) -> None:
    class Hearing(Interrupting):
        def judge(self, program):
            if len(self.asked) > self.patience:
                signal.raise_signal(number)
            return Luck.judge(self, program)

    before = signal.signal(number, lambda *_: None)  # the process of the tests survives what is not handled
    try:
        card, _ = build(tmp_path / "corpus.jsonl", Hearing(patience=180))
    finally:
        signal.signal(number, before)
    assert (card["interrupted"], card["evaluated"]) == (number, 150) and read_corpus(tmp_path / "corpus.jsonl")


def test_a_full_disk_is_one_line_and_the_log_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "corpus.jsonl"
    with full_disk(4000), pytest.raises(UserError, match=r"cannot write '.*corpus\.log\.jsonl': File too large; raise"):
        build(out)
    assert {file.name for file in tmp_path.iterdir()} == {"corpus.log.jsonl"}
    card, told = build(out)
    whole, _ = build(tmp_path / "whole.jsonl")
    assert "going on after" in told and {**card, "seconds": 0} == {**whole, "seconds": 0}


def test_a_corpus_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "corpus.jsonl"
    build(out, evaluations=150)
    before = out.read_bytes()
    log = (tmp_path / "corpus.log.jsonl").stat().st_size
    many = [CorpusProgram("import math\n" * 9, "x", {"flat": 1.0})] * (log // 100)
    with full_disk(log), pytest.raises(OSError):
        write_corpus(out, many)
    assert out.read_bytes() == before and not list(tmp_path.glob("*.part"))


def test_two_commands_do_not_write_one_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(tmp_path, ".corpus.jsonl.lock"):
        assert run("--out", str(tmp_path / "corpus.jsonl"), "--no-ray", "--evaluations", "1", "--fresh") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"is in use by process {os.getpid()} on" in line and not list(tmp_path.iterdir())
