"""Soft prompts for a frozen language model: the prompts, the sampler and what trains them."""

from softprompt.kl import make_kl_controller
from softprompt.model import FrozenLM
from softprompt.peft_format import SavedPrompt, load_prompt, save_prompt
from softprompt.policy import evaluate
from softprompt.prompts import PromptSource, SoftPromptTable, initial_prompts
from softprompt.replay import EliteBuffer, likelihood_loss
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest, Samples
from softprompt.score_scaling import RunningMoments
from softprompt.value_head import ValueHead

__all__ = [
    "EliteBuffer",
    "FrozenLM",
    "GenerationConfig",
    "PromptSource",
    "RunningMoments",
    "SampleRequest",
    "Sampler",
    "Samples",
    "SavedPrompt",
    "SoftPromptTable",
    "ValueHead",
    "evaluate",
    "initial_prompts",
    "likelihood_loss",
    "load_prompt",
    "make_kl_controller",
    "save_prompt",
]
