"""`terraprompt.train` in a process that others have set up: torch's settings, streams, threads, directories."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import terraprompt
from tests.terraprompt.conftest import Trained

PROMPTS = ["import math\n"]


def short(outputs: list[str]) -> list[float]:
    return [-float(len(text)) for text in outputs]


@contextmanager
def put_back() -> Iterator[None]:
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


def other_torch() -> None:
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)


def test_what_a_notebook_or_a_reward_sets_in_torch_changes_nothing(trained: Trained) -> None:
    plain = trained(short, prompts=PROMPTS)

    def changing(outputs: list[str]) -> list[float]:
        other_torch()
        return short(outputs)

    with put_back():
        other_torch()
        found = trained(short, prompts=PROMPTS)
        assert found.generate(n=2) == plain.generate(n=2)
        assert torch.get_default_dtype() == torch.float64 and not torch.is_grad_enabled()
    with put_back():
        # With no deadline a function is called in the thread that trains.
        changed = trained(changing, prompts=PROMPTS, **{"terrains.options.deadline_s": 0})
        assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert np.array_equal(found.prompts["task"], plain.prompts["task"])
    assert np.array_equal(changed.prompts["task"], plain.prompts["task"])


class Notebook:
    """A stream that is no file."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("stream", [None, Notebook()])
def test_standard_output_may_be_anything(trained: Trained, monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    run = trained(short, prompts=PROMPTS)
    assert sys.stdout is stream and run.summary.steps == 2
    assert stream is None or "summary.json" in stream.text


def test_a_second_thread_is_refused_while_one_trains_and_not_after(trained: Trained) -> None:
    found: list[BaseException | None] = []
    with ThreadPoolExecutor(1) as other:

        def asks(outputs: list[str]) -> list[float]:
            if not found:
                found.append(other.submit(trained, short, prompts=PROMPTS).exception())
            return short(outputs)

        first = trained(asks, prompts=PROMPTS, train__run_name="same")
        second = other.submit(trained, short, prompts=PROMPTS, train__run_name="same").result()
    assert isinstance(found[0], terraprompt.UserError) and "another thread of this process trains" in str(found[0])
    assert {first.directory.name, second.directory.name} == {"same", "same-2"}
    assert np.array_equal(first.prompts["task"], second.prompts["task"])


def test_a_current_directory_that_is_gone_is_one_line(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        with pytest.raises(terraprompt.UserError, match="the current directory is not there any more"):
            trained(short, prompts=PROMPTS)
