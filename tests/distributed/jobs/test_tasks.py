"""The tasks that come along: their data follow from the seed, their answers are right, and their settings train."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from distributed.config.load import load_config
from distributed.config.worlds import world_factory
from tests.distributed.finished_runs import main_exit

CONFIGS = Path(__file__).parents[3] / "configs"
OFFLINE = ("reviews_offline", "json_offline", "arithmetic_offline")
SMALL = [
    "ray.enabled=false",
    "train.tracker=null",
    "train.run_name=small",
    "train.total_steps=1",
    "warm_start.samples=4",
    "warm_start.steps=1",
    "method.num_rollouts=8",
    "method.n_soft_tokens=2",
    "method.gen_kwargs.max_new_tokens=4",
    "evaluation.samples_per_terrain=4",
    "evaluation.bootstrap=100",
]


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


make_tasks = module(CONFIGS / "data" / "make_tasks.py")
json_answer = module(CONFIGS / "json_answer.py")


def rows(kind: str, part: str) -> list[dict]:
    return [json.loads(line) for line in (CONFIGS / "data" / f"{kind}_{part}.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("kind", ["json", "arithmetic"])
@pytest.mark.parametrize("part", ["train", "eval"])
def test_the_data_are_what_their_script_writes(kind: str, part: str) -> None:
    committed = rows(kind, part)
    assert make_tasks.rows(kind, part, len(committed)) == committed
    assert make_tasks.rows(kind, part, len(committed), seed=1) != committed
    assert len({row["prompt"] for row in committed}) == len(committed) >= 64


@pytest.mark.parametrize("part", ["train", "eval"])
def test_the_problems_have_the_right_answers(part: str) -> None:
    """Told from the words of each story alone."""
    signs = set()
    for row in rows("arithmetic", part):
        first, second = map(int, re.findall(r"\d+", row["prompt"]))
        fewer = re.search(r"\b(gives|takes|lost)\b", row["prompt"]) is not None
        assert fewer != (re.search(r"\b(buys|puts|finds)\b", row["prompt"]) is not None)
        assert row["answer"] == (first - second if fewer else first + second)
        assert 0 < row["answer"] <= 18
        signs.add(fewer)
    assert signs == {True, False}


def test_the_sentences_have_their_answers_in_them() -> None:
    for row in rows("json", "train") + rows("json", "eval"):
        assert all(re.search(rf"\b{row[field]}\b", row["prompt"]) for field in ("name", "age", "city"))


def test_what_is_evaluated_on_is_new() -> None:
    for kind in ("json", "arithmetic"):
        train, evaluated = ({row["prompt"] for row in rows(kind, part)} for part in ("train", "eval"))
        assert not train & evaluated
    names, new_names = ({row["name"] for row in rows("json", part)} for part in ("train", "eval"))
    assert not names & new_names
    train, evaluated = (set((CONFIGS / "data" / f"{name}.txt").read_text().splitlines()) for name in OPENINGS)
    assert (len(train), len(evaluated), train & evaluated) == (40, 10, set())


OPENINGS = ("review_openings", "review_openings_eval")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"name": "Tom", "age": 12, "city": "Rome"}', (1.0, 1.0, 1.0)),
        (' {"city":"Rome","age":12,"name":"Tom"}\n', (1.0, 1.0, 1.0)),
        ('{"name": "Tom", "age": "12", "city": "Rome"}', (0.0, 2 / 3, 0.0)),
        ('{"name": "Tom", "age": true, "city": "Rome"}', (0.0, 2 / 3, 0.0)),
        ('{"name": "Ann", "age": 12, "city": "Rome"}', (1.0, 2 / 3, 0.0)),
        ('{"name": "Tom", "age": 12, "city": "Rome", "job": "cook"}', (0.0, 1.0, 0.0)),
        ('```json\n{"name": "Tom", "age": 12, "city": "Rome"}\n```', (0.0, 0.0, 0.0)),
        ('["Tom", 12, "Rome"]', (0.0, 0.0, 0.0)),
        ("Tom is 12.", (0.0, 0.0, 0.0)),
        ("", (0.0, 0.0, 0.0)),
    ],
)
def test_what_an_answer_in_json_is_worth(output: str, expected: tuple[float, ...]) -> None:
    fields = {"name": ["Tom"], "age": [12], "city": ["Rome"]}
    functions = (json_answer.has_format, json_answer.right, json_answer.complete)
    assert tuple(function([output], **fields)[0] for function in functions) == pytest.approx(expected)


def test_the_reviews_are_four_terrains_with_the_same_openings() -> None:
    for name in ("reviews", "reviews_offline"):
        config = load_config(CONFIGS / f"{name}.yml", [])
        terrains = config.terrains.options["terrains"]
        assert list(terrains) == ["positive", "negative", "long", "short"]
        goals = {name: each["reward"]["goal"] for name, each in terrains.items()}
        assert goals == {name: name for name in terrains}
    world = world_factory(load_config(CONFIGS / "reviews_offline.yml", []))()
    assert len({(each.instructions, each.eval_instructions) for each in map(world.terrain, terrains)}) == 1
    world.close()


@pytest.mark.parametrize("name", OFFLINE)
def test_the_settings_train_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_lm[1], "lm")
    longer = json.loads(Path("lm/config.json").read_text()) | {"max_position_embeddings": 512}
    Path("lm/config.json").write_text(json.dumps(longer))
    assert main_exit("train", "--config", str(CONFIGS / f"{name}.yml"), "model.model_path=lm", *SMALL) == 0
    summary = json.loads((tmp_path / "runs" / "small" / "summary.json").read_text())
    config = load_config(CONFIGS / f"{name}.yml", [])
    assert list(summary["terrains"]) == list(config.terrains.options["terrains"])
    # Where there is no picture the report shows texts, the instruction with what was written behind it; a random model
    # writes no JSON, and failures are not shown.
    page = (tmp_path / "runs" / "small" / "report.html").read_text()
    openings = {
        "reviews_offline": (CONFIGS / "data/review_openings_eval.txt").read_text().splitlines(),
        "json_offline": ["person"],
        "arithmetic_offline": [row["prompt"] for row in rows("arithmetic", "eval")],
    }
    assert any(opening in page for opening in openings[name])


def test_without_the_model_the_command_that_makes_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main_exit("train", "--config", str(CONFIGS / "json_offline.yml"), *SMALL) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        said == "terraprompt: model.model_path: there is nothing at 'models/smollm2' yet: terraprompt get-model smollm2"
    )


def test_without_the_hub_its_model_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    assert main_exit("train", "--config", str(CONFIGS / "reviews.yml"), *SMALL) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("terraprompt:")]
    assert len(said) == 1
    assert said[0].startswith("terraprompt: model.model_path: cannot load a language model from 'lvwerra/gpt2-imdb': ")
    assert not (tmp_path / "runs").exists()
