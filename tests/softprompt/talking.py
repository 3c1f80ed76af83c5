"""A tiny language model that is talked to: its tokenizer has a chat template, and tokens for the ends of turns."""

from __future__ import annotations

import copy

import torch
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from softprompt.models.chat import Chat
from softprompt.models.frozen import FrozenLM

TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|{{ message.role }}|>{{ message.content | trim }}{% if message.role == 'assistant' %} {% endif %}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]


def talking_tokenizer(tokenizer: PreTrainedTokenizerBase, template: str | None = TEMPLATE) -> PreTrainedTokenizerBase:
    """A copy with these tokens and a template, which puts a start token before every text, as Llama's does."""
    talking = copy.deepcopy(tokenizer)
    talking.add_special_tokens({"additional_special_tokens": SPECIAL})
    bos = str(talking.bos_token)
    start = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, talking.bos_token_id)])
    talking.backend_tokenizer.post_processor = start
    talking.chat_template = template
    return talking


def talking_lm(tokenizer: PreTrainedTokenizerBase, chat: Chat | None, template: str | None = TEMPLATE) -> FrozenLM:
    """A random model with a row for each of the tokens; its configuration knows one end, that of texts."""
    talking = talking_tokenizer(tokenizer, template)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(talking), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, initializer_range=0.25, bos_token_id=talking.bos_token_id,
        eos_token_id=talking.eos_token_id, pad_token_id=talking.pad_token_id,
    )  # fmt: skip
    return FrozenLM(LlamaForCausalLM(config), talking, chat=chat)
