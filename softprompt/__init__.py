"""Soft prompts for a frozen language model: the prompts, the sampler and what trains them."""

from softprompt.model import FrozenLM
from softprompt.prompts import PromptSource, SoftPromptTable, initial_prompts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest, Samples

__all__ = [
    "FrozenLM",
    "GenerationConfig",
    "PromptSource",
    "SampleRequest",
    "Sampler",
    "Samples",
    "SoftPromptTable",
    "initial_prompts",
]
