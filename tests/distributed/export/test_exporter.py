"""What an export registers, when the champion changes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.utils.validation import _validate_model_name
from rich.console import Console
from safetensors.numpy import save_file

from distributed.checkpoint.manager import save_checkpoint
from distributed.errors import UserError
from distributed.export import exporter as export_module
from distributed.export.registry import LONGEST, Registry, model_uri, registry_name
from distributed.jobs import write as write_command
from distributed.jobs.export import register_prompts
from distributed.jobs.writers import Writer, Written
from distributed.observability.mlflow_tracker import MlflowTracker
from distributed.results.run_folder import PROMPTS, SUMMARY, open_run
from softprompt.models.frozen import FrozenLM
from terrains.base import Attempt
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.world import SodaraceWorld, WorldConfig
from tests.distributed.finished_runs import (
    BUMPY,
    FITNESS,
    INSTRUCTION,
    NEW_TOKENS,
    export,
    main_exit,
    make_run,
)
from tests.distributed.full_disk import full_disk

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny matrices are slower on several threads than on one."""
    torch.set_num_threads(1)


def champion(store: str, terrain: str) -> str:
    return str(MlflowClient(store).get_registered_model(registry_name(terrain)).aliases["champion"])


def test_export_registers_a_model_a_terrain_with_tags(run: Path, store: str, tiny_lm: tuple[FrozenLM, Path]) -> None:
    assert export(run) == {"tunnel": "1", BUMPY: "1"}
    version = MlflowClient(store).get_model_version(registry_name(BUMPY), "1")
    tags = version.tags
    assert tags["terrain"] == BUMPY and tags["terrain_fingerprint"] == SodaraceWorld().terrain(BUMPY).fingerprint
    assert (tags["n_soft_tokens"], tags["initialize_from_vocab"], tags["run"]) == ("4", "true", "first")
    assert (tags["base_model"], tags["base_model_hash"]) == (str(tiny_lm[1]), tiny_lm[0].hash)
    assert (tags["fitness"], json.loads(tags["fitness_interval"])) == ("20.0000", [18.0, 22.0])
    assert "ray_job_id" not in tags and champion(store, BUMPY) == "1"


def test_export_is_tagged_with_the_rules_of_its_evaluation_and_samples_as_it_did(
    run: Path, store: str, tiny_lm: tuple[FrozenLM, Path]
) -> None:
    summary = json.loads((run / "summary.json").read_text()) | {"fingerprints": {BUMPY: "f" * 64}}
    (run / "summary.json").write_text(json.dumps(summary))
    config = json.loads((run / "config.json").read_text())
    config["method"]["gen_experience_kwargs"] = {"max_new_tokens": 5, "temperature": 1.9}
    (run / "config.json").write_text(json.dumps(config))
    export(run)
    client = MlflowClient(store)
    tags = {name: client.get_model_version(registry_name(name), "1").tags for name in FITNESS}
    assert tags[BUMPY]["terrain_fingerprint"] == "f" * 64
    assert tags["tunnel"]["terrain_fingerprint"] == SodaraceWorld().terrain("tunnel").fingerprint
    model = mlflow.pyfunc.load_model(model_uri(BUMPY))
    asked = {each.name: each.default for each in model.metadata.get_params_schema().params}
    assert asked["temperature"] == 1.0 and asked["max_new_tokens"] == NEW_TOKENS


def test_model_holds_the_prompt_and_names_the_base_model(run: Path, store: str) -> None:
    export(run, "tunnel")
    folder = Path(mlflow.artifacts.download_artifacts(model_uri("tunnel")))
    sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    assert {"MLmodel", "prompt_model.py", "artifacts/prompt/adapter_config.json"} <= sizes.keys()
    assert not [name for name in sizes if name.endswith((".pkl", ".bin", ".pt"))] and sum(sizes.values()) < 40_000


def test_champion_moves_only_to_a_better_evaluation(tmp_path: Path, store: str, tiny_lm: tuple[FrozenLM, Path]) -> None:
    lm, base = tiny_lm

    def run_with(fitness: float, seed: int, **options: float) -> Path:
        return make_run(tmp_path / "runs" / str(seed), base, lm, {"tunnel": fitness}, seed, **options)

    seen = []
    for seed, fitness in enumerate([50.0, 40.0, 50.0, 60.0, 59.9]):
        export(run_with(fitness, seed))
        seen.append(champion(store, "tunnel"))
    assert seen == ["1", "1", "1", "4", "4"]
    # Under other rules a greater number says nothing.
    export(run_with(500.0, 10, seconds=5.0))
    assert champion(store, "tunnel") == "4"
    MlflowClient(store).delete_model_version_tag(registry_name("tunnel"), "4", "fitness")
    export(run_with(500.0, 11))
    assert champion(store, "tunnel") == "4"


def test_store_that_the_run_names_is_used_and_mlflow_left_as_it_was(
    run: Path, tmp_path: Path, store: str, empty_store: Path
) -> None:
    own = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'own.db')}"
    said = json.loads((run / "config.json").read_text())
    said["tracking"]["uri"] = own
    (run / "config.json").write_text(json.dumps(said))
    export(run, "tunnel")
    assert champion(own, "tunnel") == "1" and Registry(store).names() == []
    assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == store


def test_export_can_be_repeated_without_another_version(run: Path, store: str) -> None:
    export(run, "tunnel")
    assert export(run) == {"tunnel": "1", BUMPY: "1"}
    client = MlflowClient(store)
    client.delete_registered_model_alias(registry_name("tunnel"), "champion")
    assert export(run) == {"tunnel": "1", BUMPY: "1"} and champion(store, "tunnel") == "1"
    assert len(client.search_model_versions(f"name='{registry_name('tunnel')}'")) == 1


def test_best_only_leaves_out_what_is_no_better(
    run: Path, tmp_path: Path, store: str, tiny_lm: tuple[FrozenLM, Path]
) -> None:
    export(run)
    lm, base = tiny_lm
    mixed = make_run(tmp_path / "runs" / "mixed", base, lm, {"tunnel": 49.0, BUMPY: 21.0}, seed=1)
    assert export(mixed, best_only=True) == {BUMPY: "2"}
    assert champion(store, BUMPY) == "2" and champion(store, "tunnel") == "1"


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_dry_run_writes_nothing(
    run: Path, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # A store with a model in it, and one that does not exist and is not to come into being.
    export(run, "tunnel")
    for uri in (store, f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}", "sqlite:///mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        before = files_below(tmp_path)
        main_exit("export", str(run), "--dry-run")
        assert files_below(tmp_path) == before
        assert "dry run: nothing was written" in capsys.readouterr().out


def test_a_run_that_ends_registers_its_prompts_or_says_why_not(
    run: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    register_prompts(run, Console(width=500))
    assert champion(store, "tunnel") == champion(store, BUMPY) == "1"
    assert "registered 2 prompts" in capsys.readouterr().out
    (run / PROMPTS).unlink()
    register_prompts(run, Console(width=500))
    assert f"for another try: terraprompt export {run}" in capsys.readouterr().out


def test_search_exports_its_best_member(tmp_path: Path, store: str, tiny_lm: tuple[FrozenLM, Path]) -> None:
    lm, base = tiny_lm
    search = tmp_path / "runs" / "search"
    make_run(search / "members" / "0", base, lm, {"tunnel": 5.0}, seed=1)
    make_run(search / "members" / "1", base, lm, {"tunnel": 7.0}, seed=2, n_soft_tokens=8)
    (search / SUMMARY).write_text(json.dumps({"errored": 0, "best": {"fitness": 7.0}, "best_run": "members/1"}))
    assert export(search) == {"tunnel": "1"}
    tags = MlflowClient(store).get_model_version(registry_name("tunnel"), "1").tags
    assert (tags["fitness"], tags["n_soft_tokens"], tags["run"]) == ("7.0000", "8", "search/members/1")
    for said, words in (({"best": None}, "no best member"), ({"best_run": "members/9"}, "lost its best member")):
        (search / SUMMARY).write_text(json.dumps(said))
        with pytest.raises(UserError, match=words):
            open_run(search)


def test_models_belong_to_the_recorded_run_and_its_ray_job(run: Path, store: str) -> None:
    with MlflowTracker("walkers", {}, uri=store, tags={"ray_job_id": "job-7"}) as tracker:
        tracker.log({f"fitness/{terrain}": 1.0 for terrain in FITNESS}, 1)
    save_checkpoint(run, 3, {"loop": {}, "run": {"mlflow_run_id": tracker.run_id}})
    export(run)
    client = MlflowClient(store)
    version = client.get_model_version(registry_name("tunnel"), "1")
    assert version.run_id == tracker.run_id and version.tags["ray_job_id"] == "job-7"
    assert tracker.run_id is not None
    experiment = client.get_experiment_by_name("walkers")
    assert experiment is not None
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert (model.experiment_id, model.source_run_id) == (experiment.experiment_id, tracker.run_id)


NAMES = [
    "tunnel",
    BUMPY,
    "tunnel+bumpy(amplitude=4,seed=3)",
    "slope(angle=-0.5)",
    "file(path=/a/b c.csv)",
    "a:b",
    "%41",
]


@pytest.mark.parametrize("terrain", [*NAMES, "x" * 500, "'", 'q"#?&@\\', "ünï", ".."])
def test_registry_names_are_legal_and_come_back_from_an_address(terrain: str) -> None:
    name = registry_name(terrain)
    _validate_model_name(name)
    parsed = _parse_model_uri(model_uri(terrain))
    assert (parsed.name, parsed.alias) == (name, "champion") and len(name) <= LONGEST + 20


def test_registry_names_are_readable_and_different() -> None:
    assert registry_name(BUMPY) == f"softprompt.{BUMPY}"
    assert registry_name("tunnel+bumpy(amplitude=4,seed=3)") == "softprompt.tunnel+bumpy(amplitude=4,seed=3)"
    alike = ["a/b", "a:b", "a_b", "a%b", "y" * 300, "y" * 301]
    assert len({registry_name(name) for name in alike}) == len(alike)


@pytest.mark.parametrize("terrain", [name for name in NAMES if name != "tunnel"])
def test_store_takes_every_name(terrain: str, store: str) -> None:
    registry, client = Registry(store), MlflowClient(store)
    name = registry_name(terrain)
    client.create_registered_model(name)
    version = client.create_model_version(name, "mlflow-artifacts:/x", tags={"digest": "d", "fitness": "1.5"})
    registry.set_champion(name, version.version)
    found = registry.champion(name)
    assert found is not None and (found.version, found.fitness) == ("1", 1.5)
    assert registry.find(name, "d") == "1" and registry.find(name, "e") is None and registry.names() == [name]


def drop_summary(run: Path) -> None:
    (run / SUMMARY).unlink()


def break_summary(run: Path) -> None:
    (run / SUMMARY).write_text("{}")


def break_prompts(run: Path) -> None:
    (run / PROMPTS).write_bytes(b"?")


def break_config(run: Path) -> None:
    settings = json.loads((run / "config.json").read_text())
    settings["method"]["n_soft_token"] = settings["method"].pop("n_soft_tokens")
    (run / "config.json").write_text(json.dumps(settings))


def break_numbers(run: Path) -> None:
    save_file({name: np.full((4, 32), np.nan, np.float32) for name in FITNESS}, run / PROMPTS)


def lose_base(run: Path) -> None:
    said = json.loads((run / "config.json").read_text())
    said["model"]["model_path"] = str(run / "no" / "model")
    (run / "config.json").write_text(json.dumps(said))


def change_base(run: Path) -> None:
    said = json.loads((run / SUMMARY).read_text())
    (run / SUMMARY).write_text(json.dumps({**said, "lm_hash": "0" * 64}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (drop_summary, "is no finished run: it has no summary.json"),
        (break_summary, "is not the summary of a run"),
        (break_prompts, "cannot read"),
        (break_config, "did you mean method.n_soft_tokens?"),
        (break_numbers, "is damaged"),
        (lose_base, "no language model at"),
        (change_base, "its prompts were tuned for a language model with hash 000000000000"),
    ],
)
def test_a_run_that_is_not_whole_is_one_line_and_registers_nothing(
    run: Path, store: str, damage, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run)
    assert main_exit("export", str(run)) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert Registry(store).names() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "RUNS/frist"), "did you mean first?"),
        (("export", "RUNS/first", "--terrain", "tunel"), "has no prompt for 'tunel'; did you mean tunnel?"),
        (("write", "--terrain", "tunel"), "tunnel"),
        (("write", "--terrain", "tunnel"), "no champion for tunnel"),
        (("write", "--terrain", "tunnel", "--from", "RUNS/frist"), "did you mean first?"),
        (("write", "--terrain", "flat", "--from", "RUNS/first"), "has no prompt for 'flat'"),
        (("write", "--terrain", "flat", "--from", "models:/softprompt.nothing@champion"), "softprompt.nothing"),
        (("write", "--terrain", "tunnel", "--from", "RUNS/first", "--picture", "/nowhere/x.png"), "--picture"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, store: str, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_exit(*(each.replace("RUNS", str(run.parent)) for each in arguments)) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_unreachable_server_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main_exit("export", str(run)) == 2
    error = capsys.readouterr().err
    assert "MLflow at http://127.0.0.1:9" in error and error.count("\n") == 1


def test_writing_from_a_store_that_is_not_there_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    assert main_exit("write", "--terrain", "flat", "--from", "models:/softprompt.flat@champion") == 2
    error = capsys.readouterr().err
    assert "there is no MLflow store" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_registered_names_are_suggested_where_there_is_no_champion(
    run: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    export(run)
    assert main_exit("write", "--terrain", "bumpy(amplitude=4,seed=4)") == 2
    assert f"did you mean {BUMPY}?" in capsys.readouterr().err
    assert main_exit("write", "--terrain", "tunel") == 2
    error = capsys.readouterr().err
    assert "no champion for tunel" in error and "did you mean tunnel?" in error and error.count("\n") == 1


def test_write_writes_the_same_program_from_the_run_and_from_the_registry(
    run: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    export(run)
    capsys.readouterr()
    said = []
    for source in ((), ("--from", str(run)), ("--from", "models:/softprompt.tunnel/1")):
        assert main_exit("write", "--terrain", "tunnel", "--seed", "4", *source) == 0
        out, err = capsys.readouterr()
        said.append(out)
        assert out.startswith(INSTRUCTION) and "fitness 0 on tunnel" in err  # random weights write no walker
    assert said[0] == said[1] == said[2]


def test_write_scores_and_draws_a_walker(
    run: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = next(iter(SEEDS.values()))

    def writer(*_: object) -> Writer:
        world = SodaraceWorld(WorldConfig(seconds=3.0))
        return Writer(world.terrain("flat"), lambda seeds: [Written(program)] * len(seeds), world)

    monkeypatch.setattr(write_command, "from_run", writer)
    picture = tmp_path / "walker.png"
    assert main_exit("write", "--terrain", "flat", "--from", str(run), "--picture", str(picture)) == 0
    out, err = capsys.readouterr()
    world = SodaraceWorld(WorldConfig(seconds=3.0))
    [score] = world.score([Attempt("flat", program)])
    world.close()
    assert out == f"{program}\n" and f"fitness {score.fitness:.1f} on flat" in err and str(picture) in err
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = picture.read_bytes()
    with full_disk():
        assert main_exit("write", "--terrain", "flat", "--from", str(run), "--picture", str(picture)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"terraprompt: cannot write '{picture}': File too large; raise the limit")
    assert picture.read_bytes() == before and not list(tmp_path.glob(".unfinished_*"))


def test_an_export_without_room_for_its_files_is_one_line(
    run: Path, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = export_module.save_prompt

    def save_on_full_disk(*arguments: object) -> object:
        with full_disk():
            return save(*arguments)

    monkeypatch.setattr(export_module, "save_prompt", save_on_full_disk)
    assert main_exit("export", str(run)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("terraprompt: cannot write '") and "File too large; raise the limit" in line
