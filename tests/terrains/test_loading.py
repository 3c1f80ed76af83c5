"""References to functions and classes: found, or refused in one line that says what to do."""

from __future__ import annotations

import builtins
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from terrains.errors import WorldError
from terrains.loading import described, load_callable, load_object, source_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_rewards.py").write_text(
        textwrap.dedent(
            """\
            from beside_it import LENGTH

            CALLS = []

            class Judge:
                @staticmethod
                def reward(outputs):
                    return [LENGTH for _ in outputs]

            def reward_fn(outputs):
                raise KeyError("no answer")
            """
        )
    )
    (tmp_path / "beside_it.py").write_text("LENGTH = 7\n")
    return tmp_path


def test_a_file_gives_its_function_and_what_it_imports_from_beside_it(folder: Path) -> None:
    reward = load_callable("my_rewards.py:Judge.reward", folder)
    assert reward(["a", "b"]) == [7, 7]
    assert load_object(f"{folder}/my_rewards.py:CALLS") is load_object("my_rewards.py:CALLS", folder)


def test_a_module_is_found_where_it_is_installed_and_in_the_folder(folder: Path) -> None:
    assert load_callable("json:dumps")([1]) == "[1]"
    assert load_object("beside_it:LENGTH", folder) == 7


def test_a_file_travels_as_a_text_and_its_lines_with_it(folder: Path) -> None:
    source = source_of("my_rewards.py:reward_fn", folder)
    assert source is not None and source_of("json:dumps") is None
    text = source.text.replace("from beside_it import LENGTH", "LENGTH = 9")
    away = "/nowhere/my_rewards.py"
    assert load_callable(f"{away}:Judge.reward", text=text)(["a"]) == [9]
    reward = load_callable(f"{away}:reward_fn", text=text)
    assert "no answer" in inspect.getsource(reward)
    with pytest.raises(KeyError) as raised:
        reward([])
    assert described(raised.value, away) == "my_rewards.py:11: KeyError: 'no answer'"


def test_a_file_that_has_changed_is_run_again(folder: Path) -> None:
    (folder / "changing.py").write_text("VALUE = 1\n")
    assert load_object("changing.py:VALUE", folder) == 1
    (folder / "changing.py").write_text("VALUE = 2\n")
    assert load_object("changing.py:VALUE", folder) == 2


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("my_reward.py:reward_fn", "my_reward.py: no such file; did you mean my_rewards.py?"),
        ("my_rewards.py:rewards_fn", "my_rewards.py has no 'rewards_fn'; did you mean reward_fn?"),
        ("my_rewards.py:CALLS", "my_rewards.py:CALLS is a list, and not a function"),
        ("besides_it:LENGTH", "there is no module 'besides_it'; did you mean beside_it?"),
        ("json.decode:dumps", "there is no module 'json.decode'"),
        ("my_rewards.py", "'my_rewards.py': write package.module:name or file.py:name"),
        (
            "./my_rewards.txt:f",
            "'./my_rewards.txt:f': './my_rewards.txt' is neither a module nor a file that ends in .py",
        ),
        ("my-rewards:f", "'my-rewards:f': 'my-rewards' is neither a module nor a file that ends in .py"),
        ("wrong.py:f", "wrong.py cannot be imported: wrong.py:2: SyntaxError: "),
        ("needs.py:f", "needs.py cannot be imported: needs.py:2: ModuleNotFoundError: No module named 'not_there'"),
        ("needy:f", "needy cannot be imported: needs.py:2: ModuleNotFoundError: No module named 'not_there'"),
        ("leaves.py:f", "leaves.py cannot be imported: leaves.py:1: SystemExit: 3"),
        ("bytes.py:f", "bytes.py: is not a text in UTF-8"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(folder: Path, reference: str, said: str) -> None:
    (folder / "wrong.py").write_text("a = 1\ndef f(:\n")
    (folder / "needs.py").write_text("a = 1\nimport not_there\n")
    (folder / "needy.py").write_text("import needs\n")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    (folder / "bytes.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorldError) as raised:
        load_callable(reference, folder)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_interrupted_while_it_is_run_is_run_again(folder: Path) -> None:
    (folder / "waits.py").write_text("import builtins\nbuiltins.interrupt()\ndef f(): return 7\n")
    calls = []

    def interrupt() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    builtins.interrupt = interrupt  # type: ignore[attr-defined]
    try:
        with pytest.raises(KeyboardInterrupt):
            load_callable("waits.py:f", folder)
        assert load_callable("waits.py:f", folder)() == 7
    finally:
        del builtins.interrupt  # type: ignore[attr-defined]


def test_nothing_heavy_is_imported_for_it() -> None:
    code = "import sys, terrains.loading; print(sorted({'torch', 'pandas', 'transformers', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
