"""Reading configurations: three formats in, one out, and a clear line for every mistake."""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from distributed.config import RunConfig
from distributed.config.load import load_config, parse_config, with_settings
from distributed.errors import UserError

ROOT = Path(__file__).parents[3]
SEED, TRLX = ROOT / "tests/data/seed_2022.yml", ROOT / "tests/data/trlx_default_ppo.yml"


def problem(data: dict[str, Any] | str, *overrides: str, tmp_path: Path) -> str:
    """The line a user reads, without the name of the file."""
    file = tmp_path / "run.yml"
    file.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    with pytest.raises(UserError) as error:
        load_config(file, overrides)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{file}").removeprefix(": ")


@pytest.mark.parametrize("file", [*sorted((ROOT / "configs").glob("*.yml")), SEED, TRLX], ids=lambda file: file.stem)
def test_what_is_written_reads_back_equal(file: Path, tmp_path: Path) -> None:
    config = load_config(file)
    copied = tmp_path / "copy.yml"
    copied.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load_config(copied) == config


def test_the_shipped_configurations_need_no_words(caplog: pytest.LogCaptureFixture) -> None:
    files = sorted((ROOT / "configs").glob("*.yml"))
    assert [file.stem for file in files if load_config(file).model.num_layers_unfrozen] == []
    assert len(files) >= 3 and caplog.messages == []


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yml").write_text("# nothing\n")
    (tmp_path / "sections.yml").write_text("method:\ntrain:\n")
    assert load_config(tmp_path / "empty.yml") == load_config(tmp_path / "sections.yml") == RunConfig()


def test_trlx_default_ppo_loads_unchanged() -> None:
    config = load_config(TRLX)
    asked = yaml.safe_load(TRLX.read_text())
    read = config.model_dump(mode="json")
    asked["train"]["tracker"] = "mlflow"
    asked["scheduler"]["kwargs"]["T_max"] = 1e12
    for section, values in asked.items():
        assert {name: read[section][name] for name in values if name != "gen_kwargs"} == {
            name: value for name, value in values.items() if name != "gen_kwargs"
        }
    assert config.method.gen_kwargs.new_tokens(10) == 40


def test_a_tracker_of_trlx_becomes_mlflow_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert load_config(TRLX).train.tracker == "mlflow"
    assert any("wandb" in message for message in caplog.messages)
    assert parse_config({"train": {"tracker": None}}).train.tracker is None


def test_the_seeds_settings_keep_their_meaning() -> None:
    config = load_config(SEED)
    assert config.optimizer.name == "adamw"
    assert config.optimizer.arguments == {"lr": 1e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 1e-6}
    assert config.scheduler.name == "constant"
    assert config.tokenizer.tokenizer_path == "gpt2"
    method = config.method
    assert (method.n_soft_tokens, method.initialize_from_vocab, method.tune_v_head) == (20, True, True)
    assert (method.target, method.init_kl_coef, method.scale_reward) == (6.0, 0.05, False)
    assert config.sequence_length(instruction_tokens=4) == config.train.seq_length == 68


def test_the_translation_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    load_config(SEED)
    said = [message for message in caplog.messages if "format of 2022" in message]
    assert len(said) == 1 and "train.lr_init is optimizer.kwargs.lr" in said[0]
    assert "train.orchestrator has no effect" in said[0]


def test_a_learning_rate_that_falls_becomes_a_cosine() -> None:
    old = {"train": {"learning_rate_init": 1e-3, "learning_rate_target": 1e-5, "lr_ramp_steps": 100}}
    config = parse_config(old)
    assert (config.optimizer.kwargs.lr, config.scheduler.name) == (1e-3, "cosine_annealing")
    assert config.scheduler.arguments == {"eta_min": 1e-5}


def test_a_setting_in_both_formats_is_refused(tmp_path: Path) -> None:
    both = {"train": {"lr_init": 0.1}, "optimizer": {"name": "adam", "kwargs": {"lr": 0.2}}}
    assert problem(both, tmp_path=tmp_path).startswith("train.lr_init and optimizer.kwargs.lr say the same")


def test_the_callers_settings_are_not_changed() -> None:
    given = yaml.safe_load(SEED.read_text()) | {"search": {"space": {"method.n_soft_tokens": [1, 2]}}, "ray": None}
    before = copy.deepcopy(given)
    config = parse_config(given, ["method.gen_kwargs.top_k=3", "search.space={}"])
    config.model_dump()["method"]["gen_kwargs"]["top_k"] = 99
    assert given == before
    changed = {"model.model_extra_configs": {"a": [1]}}
    with_settings(config, changed).model.model_extra_configs["a"].append(2)
    assert changed == {"model.model_extra_configs": {"a": [1]}}


def test_overrides_may_be_values_by_name_which_are_not_changed() -> None:
    options = {"seconds": 5}
    changed = {"terrains.options": options, "terrains.options.seconds": 7, "optimizer.kwargs.lr": 1e-5}
    config = parse_config({"train": {"seed": 3}}, changed)
    assert (config.terrains.options, options) == ({"seconds": 7}, {"seconds": 5})
    assert (config.optimizer.kwargs.lr, config.train.seed) == (1e-5, 3)
    with pytest.raises(UserError, match="did you mean optimizer.kwargs.lr"):
        parse_config({}, {"optimizer.kwargs.lrr": 1.0})


def test_overrides_come_before_the_file_and_are_yaml() -> None:
    overrides = [
        "optimizer.kwargs.lr=1e-2",
        "method.n_soft_tokens=8",
        "method.initialize_from_vocab=false",
        "train.run_name=12",
        "terrains.names=[tunnel, 'bumpy(amplitude=12, seed=3)']",
        "train.tracker=null",
    ]
    config = load_config(SEED, overrides)
    assert config.optimizer.kwargs.lr == 0.01 and config.optimizer.kwargs.eps == 1e-8
    assert (config.method.n_soft_tokens, config.method.initialize_from_vocab) == (8, False)
    assert (config.train.run_name, config.train.tracker) == ("12", None)
    assert config.terrains.names == ("tunnel", "bumpy(amplitude=12, seed=3)")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"method": {"n_soft_token": 3}}, "method.n_soft_token: no such setting; did you mean method.n_soft_tokens?"),
        ({"methods": {}}, "methods: no such setting; did you mean method?"),
        ({"train": {"num_rollouts": 3}}, "train.num_rollouts: no such setting; did you mean method.num_rollouts?"),
        (
            {"optimizer": {"kwargs": {"Betas": [0, 0]}}},
            "optimizer.kwargs.Betas: no such setting; did you mean optimizer.kwargs.betas?",
        ),
        ({"ray": {"zzz": 1}}, "ray.zzz: no such setting; `terraprompt settings ray` lists those there are"),
        ({"method": {"n_soft_tokens": 0}}, "method.n_soft_tokens: must be at least 1, not 0"),
        ({"method": {"n_soft_tokens": 2.5}}, "method.n_soft_tokens: must be a whole number, not 2.5"),
        ({"method": {"n_soft_tokens": None}}, "method.n_soft_tokens: must be a whole number, not null"),
        ({"method": {"gamma": "high"}}, 'method.gamma: must be a number, not "high"'),
        ({"method": {"gamma": 1.5}}, "method.gamma: must be at most 1, not 1.5"),
        ({"method": {"init_kl_coef": float("nan")}}, "method.init_kl_coef: must be finite, not NaN"),
        (
            {"method": {"initialize_from_vocab": "maybe"}},
            'method.initialize_from_vocab: must be true or false, not "maybe"',
        ),
        ({"method": 3}, "method: must be settings of its own, indented below it, not 3"),
        ({"terrains": {"names": "tunnel"}}, 'terrains.names: must be a list, not "tunnel"'),
        ({"terrains": {"names": ["flat", {}]}}, "terrains.names[1]: must be text, not {}"),
        (
            {"method": {"gen_experience_kwargs": {"top_p": 0}}},
            "method.gen_experience_kwargs.top_p: must be above 0, not 0",
        ),
        (
            {"method": {"n_soft_tokens": 0, "gamma": 2, "lam": -1}},
            "method.n_soft_tokens: must be at least 1, not 0 (and 2 more problems)",
        ),
        ("method: [1, 2\n", " is not valid YAML in line 2, column 1: expected ',' or ']', but got '<stream end>'"),
        ("method: {lam: 1}\nmethod: {}\n", " is not valid YAML in line 2, column 1: method is there twice"),
        ("method: {? [a] : 1}\n", " is not valid YAML in line 1, column 12: a key has to be text"),
        ("method: &m {lam: *m}\n", "method.lam: must be a number, not {'lam': {...}}"),
        ("train: {run_name: 2026-13-01}\n", " is not valid YAML: month must be in 1..12"),
        (f"method: {'[' * 5000}\n", " is not valid YAML: it is nested too deeply"),
        ("- a\n", " is no configuration: it has to consist of sections such as `method:`"),
        ("1: {}\n", " is no configuration: it has to consist of sections such as `method:`"),
    ],
)
def test_a_mistake_in_a_file_is_one_clear_line(data: dict[str, Any] | str, line: str, tmp_path: Path) -> None:
    assert problem(data, tmp_path=tmp_path) == line


@pytest.mark.parametrize("value", ["rlo", "RLOO", 3])
def test_a_choice_names_the_choices(value: object, tmp_path: Path) -> None:
    line = problem({"method": {"estimator": value}}, tmp_path=tmp_path)
    assert line.startswith("method.estimator: must be 'gae', 'rloo', 'grpo', 'dr_grpo', 'reinforce_pp' or 'es', not ")
    assert line.endswith("; did you mean rloo?") == isinstance(value, str)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("method.n_soft_token=8", "method.n_soft_token: no such setting; did you mean method.n_soft_tokens?"),
        ("method.n_soft_tokens.x=8", "method.n_soft_tokens: must be a whole number, not"),
        ("method.n_soft_tokens", "'method.n_soft_tokens' sets nothing: write settings as method.n_soft_tokens=8"),
        ("=8", "'=8' sets nothing"),
        ("method.num_rollouts=2", "method.num_rollouts: 2 programs a step for 3 terrains"),
        ("terrains.names=[a", "'terrains.names=[a': the value is not valid YAML"),
        ("train.run_name=2026-13-01", "'train.run_name=2026-13-01': the value is not valid YAML"),
    ],
)
def test_a_mistake_on_the_command_line_does_not_blame_the_file(override: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(ROOT / "configs/quickstart.yml", [override])
    assert str(error.value).startswith(line)


def test_a_missing_file_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match="no configuration file 'quikstart.yml'; did you mean configs/quickstart.yml?"):
        load_config("quikstart.yml")
    with pytest.raises(UserError, match="cannot read the configuration file"):
        load_config(tmp_path)


def test_what_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "weights.yml").open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(UserError, match="weights.yml': it is larger than 1,000,000 bytes"):
        load_config(tmp_path / "weights.yml")


def test_aliases_that_would_grow_without_bounds_are_one_line(tmp_path: Path) -> None:
    doubling = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    said = problem("\n".join(["a0: &a0 [x]", *doubling]), tmp_path=tmp_path)
    assert said.startswith(" is not valid YAML: with its aliases written out it has more than 1,000,000 values")


def test_more_digits_than_a_number_can_have_are_one_line(tmp_path: Path) -> None:
    assert problem(f"train: {{seed: {'9' * 5000}}}", tmp_path=tmp_path).startswith(
        " is not valid YAML: Exceeds the limit"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method.gen_kwargs": {"max_length": 48}, "train.seq_length": 48}, "48 is ignored.* is 68$"),
        ({"method.gen_kwargs": {"max_new_tokens": 40}, "train.seq_length": 60}, "60 is ignored.* is 60 and the instr"),
        ({"method.gen_kwargs": {"max_length": 48}, "train.seq_length": 68}, None),
        ({"method.gen_kwargs": {"max_new_tokens": 40}, "train.seq_length": 1024}, None),
        ({"method.gen_kwargs": {"max_length": 48}}, None),
    ],
)
def test_a_wrong_sequence_length_is_ignored_and_said(
    settings: dict[str, Any], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    parse_config({}, [f"{name}={value}" for name, value in settings.items()])
    assert len(caplog.messages) == (said is not None)
    if said is not None:
        assert re.search(said, caplog.messages[0])


def test_settings_that_only_trlx_reads_are_named(caplog: pytest.LogCaptureFixture) -> None:
    parse_config({"method": {"chunk_size": 7}, "train": {"epochs": 100}})
    assert caplog.messages == ["settings: only trlx reads method.chunk_size"]
