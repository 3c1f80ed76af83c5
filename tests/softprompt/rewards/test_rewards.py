"""Rewards by models agree with the models, one text at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerBase

from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids
from softprompt.rewards.classifier import Classifier
from softprompt.rewards.likelihood import BUNDLED_LM, Likelihood
from tests.softprompt.conftest import VOCAB

TEXTS = ["import math", "def f():\n    return 12\n", "m"]


def test_a_classifier_gives_its_probability_of_a_label(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    torch.manual_seed(0)
    labels = {0: "NEGATIVE", 1: "POSITIVE"}
    config = GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=1, n_head=2, num_labels=2, id2label=labels)
    config.pad_token_id = tokenizer.pad_token_id
    model = GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with torch.inference_mode():
        alone = [model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(0)[1].item() for text in TEXTS]
    found = Classifier(Classifier.Config(model=str(tmp_path), batch_size=2))(TEXTS, TEXTS)
    assert found == pytest.approx(alone, abs=1e-4)
    with pytest.raises(ValueError, match="has no label 'POSITIV'; did you mean POSITIVE"):
        Classifier(Classifier.Config(model=str(tmp_path), label="POSITIV"))(TEXTS, TEXTS)
    with pytest.raises(ValueError, match="cannot be loaded"):
        Classifier(Classifier.Config(model=str(tmp_path / "none")))(TEXTS, TEXTS)


def test_likelihood_is_the_mean_log_probability_of_the_output() -> None:
    lm = FrozenLM.load(BUNDLED_LM)
    prompts, outputs = ["import math\n"] * 3, ["def make_walker():\n", "    wc = walker_creator()\n", "qzx"]
    expected = []
    for prompt, output in zip(prompts, outputs, strict=True):
        first, second = instruction_ids(lm, prompt), lm.tokenizer(output, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logprobs = lm.model(torch.tensor([[*first, *second]])).logits[0].double().log_softmax(-1)
        picked = [logprobs[len(first) + i - 1, token].item() for i, token in enumerate(second)]
        expected.append(sum(picked) / len(picked))
    found = Likelihood(Likelihood.Config(floor=-1000, batch_size=2))(prompts, outputs)
    assert found == pytest.approx(expected, abs=1e-3)
    assert found[0] > found[2]
    assert Likelihood(Likelihood.Config())(["import math\n"], [""]) == [-20.0]
