"""Settings of Stage 2, and presets of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from softprompt.pretrain.prefixes import PrefixConfig


class PretrainConfig(BaseModel):
    """Settings of Stage 2; the defaults make the bundled model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: Literal["tiny", "small", "base"] = "tiny"
    """The preset that these settings began as."""
    vocab_size: int = Field(1024, ge=300)
    """Tokens of the tokenizer, at most: merges end when no pair repeats."""
    hidden_size: int = Field(192, ge=8)
    """Width of the model, d."""
    layers: int = Field(4, ge=1)
    """Transformer blocks."""
    heads: int = Field(6, ge=1)
    """Attention heads."""
    intermediate_size: int = Field(512, ge=8)
    """Width of the gated feed-forward layers."""
    steps: int = Field(8000, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(64, ge=1)
    """Programs a step."""
    accumulate: int = Field(1, ge=1)
    """Parts that a batch is read in, so that it fits the memory; their gradients are added up."""
    bfloat16: bool = False
    """Matrix products in bfloat16; weights and optimizer stay in float32."""
    lr: float = Field(3e-3, gt=0)
    """Peak learning rate of AdamW; linear warm-up over 3% of the steps, then a cosine down to 2% of it."""
    weight_decay: float = Field(0.05, ge=0)
    """Decoupled weight decay of the matrices."""
    held_out: float = Field(0.01, gt=0, lt=1)
    """Share of the programs kept for the held-out loss."""
    max_tokens: int = Field(160, ge=16)
    """Longer programs are left out; how many is reported."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the split, the weights, the order and the prefixes."""
    prefixes: PrefixConfig = PrefixConfig()
    """What stands before the programs."""


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {},
    "small": {"hidden_size": 384, "layers": 6, "heads": 6, "intermediate_size": 1024, "lr": 1.5e-3},
    "base": {
        "hidden_size": 768,
        "layers": 12,
        "heads": 12,
        "intermediate_size": 2048,
        "batch_size": 256,
        "accumulate": 4,
        "bfloat16": True,
        "lr": 6e-4,
        "steps": 20_000,
    },
}
"""What presets set: the bundled model; one of 11 million parameters; one of 85 million, for a GPU."""


def preset(name: str, **settings: Any) -> PretrainConfig:
    """Returns a preset's settings, but for those that are given.

    Raises:
        KeyError: there is no such preset.
        pydantic.ValidationError: a setting is out of range.
    """
    return PretrainConfig(**({"preset": name} | dict(PRESETS[name]) | settings))
