"""What a configuration file may hold: merge keys, nested settings, paths with variables, and no NUL."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from distributed.config import RunConfig
from distributed.config.load import load_config, with_settings
from distributed.errors import UserError


def read(text: str, directory: Path, *overrides: str) -> RunConfig:
    file = directory / "run.yml"
    file.write_text(text)
    return load_config(file, overrides)


def refused(text: str, directory: Path, *overrides: str) -> str:
    """The line a user reads, without the name of the file."""
    with pytest.raises(UserError) as error:
        read(text, directory, *overrides)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(str(directory / "run.yml")).removeprefix(": ")


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ("{<<: *base}", (3, 0.5)),
        ("{<<: *base, top_k: 7}", (7, 0.5)),
        ("{top_k: 7, <<: *base}", (7, 0.5)),
        ("{<<: [{top_p: 0.25}, *base], top_k: 7}", (7, 0.25)),
        ("{<<: [*base, {top_p: 0.25}]}", (3, 0.5)),
    ],
)
def test_merge_keys_give_way_to_the_keys_beside_them(kwargs: str, expected: tuple[int, float], tmp_path: Path) -> None:
    config = read(
        f"method:\n  gen_kwargs: &base {{top_k: 3, top_p: 0.5}}\n  gen_experience_kwargs: {kwargs}\n", tmp_path
    )
    method = config.method
    assert (method.gen_kwargs.top_k, method.gen_kwargs.top_p) == (3, 0.5)
    assert (method.rollout_kwargs.top_k, method.rollout_kwargs.top_p) == expected


def test_a_merged_mapping_may_be_merged_on(tmp_path: Path) -> None:
    names = (
        "{method.lam: &a {low: 0.1, high: 0.9}, method.gamma: &b {<<: *a, low: 0.2}, method.vf_coef: {<<: *b, high: 5}}"
    )
    found = read(f"search:\n  space: {names}\n", tmp_path).search.space
    ends = {name: (each.low, each.high) for name, each in found.items() if not isinstance(each, tuple)}
    assert ends == {"method.lam": (0.1, 0.9), "method.gamma": (0.2, 0.9), "method.vf_coef": (0.2, 5)}


def test_a_merged_mapping_may_lie_deeper_than_what_merges_it(tmp_path: Path) -> None:
    deeper = "a: &a {x: 1, y: 1}, b: {c: &c {<<: *a, x: 2}}"
    config = read(
        f"model: {{model_extra_configs: {{{deeper}}}}}\ntrain: {{trainer_kwargs: {{<<: *c, z: 3}}}}\n", tmp_path
    )
    assert config.model.model_extra_configs["b"]["c"] == {"x": 2, "y": 1}
    assert config.train.trainer_kwargs == {"x": 2, "y": 1, "z": 3}


@pytest.mark.parametrize(
    "text",
    [
        "train: {seed: 1, seed: 2}\n",
        "train: &base {seed: 1}\nsearch: {<<: *base, seed: 1, seed: 2}\n",
        "train: {<<: {seed: 1}, <<: {seed: 2}}\n",
        "train: {<<: {seed: 1, seed: 2}}\n",
    ],
)
def test_a_key_that_is_written_twice_is_refused_beside_a_merge_key_too(text: str, tmp_path: Path) -> None:
    assert refused(text, tmp_path).endswith("is there twice")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("method.n_soft_tokens: 8\n", "method: {n_soft_tokens: 8}"),
        ("method.n_soft_token: 8\n", "method: {n_soft_tokens: 8}"),
        ("optimizer:\n  kwargs.lr: 0.1\n", "optimizer: {kwargs: {lr: 0.1}}"),
        ("terrains.names: [tunnel]\n", 'terrains: {names: ["tunnel"]}'),
    ],
)
def test_a_dotted_key_is_told_how_to_nest(text: str, right: str, tmp_path: Path) -> None:
    name = {"optimizer:": "optimizer.kwargs.lr"}.get(text.split()[0], text.partition(":")[0])
    said = refused(text, tmp_path)
    assert said == f"{name}: a file nests its settings: write {right}; dotted names are for the command line"
    if "token:" not in text:
        read(f"{right}\n", tmp_path)


def test_a_dotted_key_like_no_setting_names_the_list(tmp_path: Path) -> None:
    assert "`terraprompt settings` lists" in refused("qqq.zzz: 8\n", tmp_path)


def test_paths_take_variables_and_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISK", "/big")
    text = (
        "model: {model_path: '${DISK}/lm'}\n"
        "train: {checkpoint_dir: ~/runs, resume_from_checkpoint: '${HOME}/runs/a${DISK}'}\n"
        "terrains: {names: ['file(path=${DISK}/a.csv)', flat]}\n"
    )
    config = read(text, tmp_path, "tracking.uri=sqlite:///${DISK}/~/m.db")
    assert config.model.model_path == "/big/lm"
    assert config.train.checkpoint_dir == str(tmp_path / "home/runs")
    assert config.train.resume_from_checkpoint == f"{tmp_path}/home/runs/a/big"
    assert config.terrains.names == ("file(path=/big/a.csv)", "flat")
    assert config.tracking.uri == "sqlite:////big/~/m.db"
    assert with_settings(config, {"train.checkpoint_dir": "${DISK}"}).train.checkpoint_dir == "/big"
    assert read(yaml.safe_dump(config.model_dump(mode="json")), tmp_path) == config


def test_a_variable_that_is_not_there_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    said = "train.checkpoint_dir: the environment has no variable 'NOWHERE', which ${NOWHERE} asks for"
    assert refused("train: {checkpoint_dir: '${NOWHERE}/runs'}\n", tmp_path) == said
    assert refused("", tmp_path, "train.checkpoint_dir=${NOWHERE}") == said
    assert "tracking.uri: the environment has no variable ''" in refused("tracking: {uri: 'a${}'}\n", tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('train: {run_name: "a\\0b"}\n', "train.run_name"),
        ('train: {checkpoint_dir: "a\\0b"}\n', "train.checkpoint_dir"),
        ('terrains: {names: [flat, "file(path=a\\0.csv)"]}\n', "terrains.names.1"),
        ('model: {model_path: "\\0"}\n', "model.model_path"),
        ('train: {"se\\0ed": 1}\n', "train.se?ed"),
    ],
)
def test_nul_in_a_name_is_one_line(text: str, name: str, tmp_path: Path) -> None:
    assert refused(text, tmp_path) == f"{name}: has a NUL character, which no name or path can"


def test_half_of_a_character_is_one_line(tmp_path: Path) -> None:
    said = refused('chat: {template: true, system_prompt: "\\uD83D"}\n', tmp_path)
    assert said == "chat.system_prompt: has half of a character (a lone surrogate), which no text in UTF-8 can"


def test_a_value_where_a_section_belongs_is_not_replaced_by_a_setting(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("train: [1]\n")
    with pytest.raises(UserError, match=r"^train: must be settings of its own, indented below it, not \[1\]"):
        load_config(tmp_path / "a.yml", ["train.total_steps=3"])


def test_nul_in_a_files_own_name_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^cannot read the configuration file 'a\\x00.yml'"):
        load_config("a\0.yml")
