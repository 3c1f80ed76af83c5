"""What is run with ``python -m`` starts the command line, and is imported by nobody."""

from __future__ import annotations

import ast
import runpy
import sys
from importlib import metadata
from pathlib import Path

import pytest

from distributed import cli

ROOT = Path(__file__).parents[3]
ENTRIES = {
    "distributed.train": "terraprompt train",
    "distributed.search": "terraprompt search",
    "distributed.export": "terraprompt export",
    "distributed.cli": "terraprompt",
}
FILES = {"distributed.train", "distributed.search.__main__", "distributed.export.__main__", "distributed.cli.__main__"}


@pytest.mark.parametrize("module", ENTRIES)
def test_a_module_that_is_run_is_its_command(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module(module, run_name="__main__")
    assert not exit_.value.code
    usage = capsys.readouterr().out.split("Usage: ")[1].split("\n")[0].split()
    command = ENTRIES[module].split()
    assert usage[: len(command)] == command and usage[len(command)] == "[OPTIONS]"


def test_the_installed_command_is_the_same_one() -> None:
    [script] = metadata.entry_points(group="console_scripts", name="terraprompt")
    assert script.load() is cli.main


def test_ctrl_c_while_the_commands_are_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "distributed.cli.commands":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "distributed.cli.commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as exit_:
        cli.main(["settings"])
    assert exit_.value.code == 130


def test_nobody_imports_what_is_run() -> None:
    imported = {}
    for file in [*ROOT.glob("distributed/**/*.py"), *ROOT.glob("softprompt/**/*.py"), *ROOT.glob("terrains/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}", *(f"{node.module}.{name}" for name in names)]
            imported |= dict.fromkeys(names, file.name)
    assert "distributed.jobs.train" in imported
    assert {name: imported[name] for name in FILES if name in imported} == {}
