"""Language models that several threads load at once, and pickles, which are not read."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from softprompt.models.frozen import FrozenLM
from softprompt.rewards.classifier import Classifier, ClassifierConfig
from softprompt.rewards.likelihood import Likelihood, LikelihoodConfig
from tests.softprompt.conftest import VOCAB


class Watched:
    """Notes how many threads are inside of a function at once, and how often it is called."""

    def __init__(self, function: Any) -> None:
        self.function, self.inside, self.most, self.calls = function, 0, 0, 0
        self.lock = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.lock:
            self.inside, self.calls = self.inside + 1, self.calls + 1
            self.most = max(self.most, self.inside)
        time.sleep(0.05)  # the others have come by then
        try:
            return self.function(*args, **kwargs)
        finally:
            with self.lock:
                self.inside -= 1


def test_one_thread_at_a_time_makes_a_model(llama, tmp_path, monkeypatch):
    llama.model.save_pretrained(tmp_path)
    llama.tokenizer.save_pretrained(tmp_path)
    parts = llama.export()
    read, made = Watched(AutoModelForCausalLM.from_pretrained), Watched(AutoModelForCausalLM.from_config)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", read)
    monkeypatch.setattr(AutoModelForCausalLM, "from_config", made)
    with ThreadPoolExecutor(4) as threads:
        ways = [lambda: FrozenLM.load(tmp_path), lambda: FrozenLM.from_weights(**parts)] * 2
        models = [each.result() for each in [threads.submit(way) for way in ways]]
    assert {each.hash for each in models} == {llama.hash}
    assert (read.most, made.most, read.calls, made.calls) == (1, 1, 2, 2)


@pytest.mark.parametrize("kind", ["classifier", "likelihood"])
def test_threads_of_a_reward_share_one_model(llama, tmp_path, monkeypatch, kind):
    """Functions are called in threads, and what is loaded at the first call is loaded once."""
    llama.tokenizer.save_pretrained(tmp_path)
    if kind == "classifier":
        config = GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=1, n_head=2, num_labels=1, pad_token_id=0)
        GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
        owner, reward = AutoModelForSequenceClassification, Classifier(ClassifierConfig(model=str(tmp_path)))
    else:
        llama.model.save_pretrained(tmp_path)
        owner, reward = AutoModelForCausalLM, Likelihood(LikelihoodConfig(model=str(tmp_path)))
    read = Watched(owner.from_pretrained)
    monkeypatch.setattr(owner, "from_pretrained", read)
    with ThreadPoolExecutor(4) as threads:
        found = [each.result() for each in [threads.submit(reward, ["def f"], [" 12"]) for _ in range(4)]]
    assert read.calls == 1 and all(each == found[0] for each in found)


class Payload:
    """What runs a function where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["model", "adapter"])
def test_a_pickle_that_runs_something_is_not_read(llama, tmp_path, name):
    base, mark = tmp_path / "base", tmp_path / "mark"
    llama.model.save_pretrained(base)
    llama.tokenizer.save_pretrained(base)
    payload = {"weight": torch.ones(2), "more": Payload(mark)}
    if name == "model":
        (base / "model.safetensors").unlink()
        torch.save(payload, base / "pytorch_model.bin")
    else:
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base)}
        (base / "over").mkdir()
        (base / "over" / "adapter_config.json").write_text(json.dumps(config))
        torch.save(payload, base / "over" / "adapter_model.bin")
    with pytest.raises(ValueError, match="a pickle that holds more than numbers|pickled ones are not read") as error:
        FrozenLM.load(base if name == "model" else base / "over")
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value) and not mark.exists()
