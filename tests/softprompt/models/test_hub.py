"""A language model's name on the hub, where no hub answers: one line, at once."""

from __future__ import annotations

import logging

import pytest
from huggingface_hub import constants

from softprompt.models.frozen import FrozenLM
from softprompt.models.source import hub_options


def test_a_hub_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub_options("some/model") == {"local_files_only": True}
    caplog.set_level(logging.WARNING)
    with pytest.raises(ValueError, match="cannot load a language model from 'no-such-owner/no-such-model'") as error:
        FrozenLM.load("no-such-owner/no-such-model")
    assert "\n" not in str(error.value)
    assert not any("Retry" in each for each in [*caplog.messages, capsys.readouterr().err])
