"""What the documentation names is there: files, tests, modules, commands with their options, settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from distributed.cli.commands import app
from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.renamed import RENAMED

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "softprompt/lm/tiny/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FOLDERS = "distributed|softprompt|terraprompt|terrains|tests|docs|configs|benchmarks"
NAMES = {each.name for each in settings(RunConfig)}


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    paths = [found.rstrip("./") for found in re.findall(rf"(?<![\w/.~-])((?:{FOLDERS})/[\w./-]+)", text)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_named_tests_are_there(page: Path) -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text())
    assert [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []
    assert named or page.name != "architecture.md"


def test_named_modules_are_there(page: Path) -> None:
    named = re.findall(
        r"(?:python -m |from )((?:distributed|softprompt|terraprompt|terrains)(?:\.\w+)*)", page.read_text()
    )
    files = [ROOT.joinpath(*name.split(".")) for name in named]
    assert [str(each) for each in files if not (each.is_dir() or each.with_suffix(".py").exists())] == []


def test_commands_have_their_options(page: Path) -> None:
    commands = typer.main.get_command(app)
    for name, rest in re.findall(
        r"(?:^ {4}|`|bin/)terraprompt ([a-z][a-z-]*)([^`\n]*)", page.read_text(), re.MULTILINE
    ):
        assert name in commands.commands, name
        command = commands.commands[name]
        of_command = [command, *getattr(command, "commands", {}).values()]
        known = {option for each in of_command for param in each.params for option in param.opts}
        given = re.findall(r"(?<!\S)(--[a-z][a-z-]*)", rest.split("#")[0])
        assert set(given) <= known | {"--help"}, (name, given)


def test_targets_of_make_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^ {4}|`)make ([a-z][a-z -]*)", page.read_text(), re.MULTILINE)
    assert {target for each in named for target in each.split()} <= targets


def test_settings_are_there(page: Path) -> None:
    sections = {name.partition(".")[0] for name in NAMES} - {"terrains"}
    named = set(re.findall(rf"(?<![\w./])((?:{'|'.join(sorted(sections))})(?:\.\w+)+)(?![\w./])", page.read_text()))
    known = NAMES | set(RENAMED) | {name.rpartition(".")[0] for name in NAMES}
    assert {name for name in named if not name.endswith((".yml", ".py", ".json"))} <= known
