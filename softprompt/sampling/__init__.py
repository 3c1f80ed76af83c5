"""From prompts and instructions to sampled programs."""

from softprompt.sampling.draw import GenerationConfig, draw, shape_logits
from softprompt.sampling.sampler import Sampler, SampleRequest, Samples

__all__ = ["GenerationConfig", "SampleRequest", "Sampler", "Samples", "draw", "shape_logits"]
