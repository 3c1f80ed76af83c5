"""Soft prompts for a frozen language model: the prompts, the sampler and what trains them."""

from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import UnfrozenLM, top_layers
from softprompt.prompts.init import initial_prompts
from softprompt.prompts.peft_io import SavedPrompt, load_prompt, save_prompt
from softprompt.prompts.residual import ResidualPrompts
from softprompt.prompts.table import PromptSource, SoftPromptTable
from softprompt.prompts.ten import TenSettings, TerrainEmbeddingNetwork
from softprompt.prompts.ten_io import load_network, save_network
from softprompt.rl.elites import EliteBuffer, likelihood_loss
from softprompt.rl.kl import make_kl_controller
from softprompt.rl.reward_scaling import RunningMoments
from softprompt.rl.value_head import ValueHead
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest, Samples

__all__ = [
    "EliteBuffer",
    "FrozenLM",
    "GenerationConfig",
    "PromptSource",
    "ResidualPrompts",
    "RunningMoments",
    "SampleRequest",
    "Sampler",
    "Samples",
    "SavedPrompt",
    "SoftPromptTable",
    "TenSettings",
    "TerrainEmbeddingNetwork",
    "UnfrozenLM",
    "ValueHead",
    "evaluate",
    "initial_prompts",
    "likelihood_loss",
    "load_network",
    "load_prompt",
    "make_kl_controller",
    "save_network",
    "save_prompt",
    "top_layers",
]
