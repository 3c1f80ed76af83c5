"""How programs are sampled."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from distributed.config.section import Arguments

DEFAULT_NEW_TOKENS = 160


class GenKwargs(Arguments):
    """How programs are sampled; the names are those of transformers."""

    max_new_tokens: int | None = Field(None, ge=1)
    """Most tokens of a program behind its instruction, its end token included; 160 without max_length either."""
    max_length: int | None = Field(None, ge=2)
    """Most tokens of instruction and program together; max_new_tokens comes before it. Soft tokens do not count."""
    min_new_tokens: int | None = Field(None, ge=0)
    """Fewest tokens of a program; before, its end token cannot be drawn."""
    min_length: int = Field(0, ge=0)
    """Fewest tokens of instruction and program together; min_new_tokens comes before it. Soft tokens do not count."""
    temperature: float = Field(1.0, gt=0)
    """Logits are divided by it."""
    top_k: int = Field(0, ge=0)
    """Only the k likeliest tokens are drawn; 0 for all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Only the fewest tokens that hold this much probability are drawn."""
    do_sample: bool = True
    """False takes the likeliest token every time."""
    stop_strings: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Texts at which a program ends, behind the token that completes one of them; it may end before its min_length."""
    eos_token_id: int | tuple[int, ...] | None = None
    """Tokens that end a program, by their numbers; null for the language model's own, -1 for none."""
    num_beams: int = Field(1, ge=1)
    """Only 1, as programs are drawn one by one."""

    @field_validator("num_beams")
    @classmethod
    def _is_one(cls, beams: int) -> int:
        if beams > 1:
            raise ValueError(
                f"must be 1, not {beams}: the best of many beams is no sample of the policy, which PPO needs"
            )
        return beams

    @property
    def end_tokens(self) -> tuple[int, ...] | None:
        """The tokens that end a program, None for the language model's own; no number below 0 is a token."""
        said = self.eos_token_id
        return None if said is None else tuple(t for t in ((said,) if isinstance(said, int) else said) if t >= 0)

    @field_validator("stop_strings", mode="before")
    @classmethod
    def _may_be_one_or_none(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else () if value is None else value

    @model_validator(mode="after")
    def _shortest_is_no_longer_than_the_longest(self) -> GenKwargs:
        for low, high in (("min_new_tokens", "max_new_tokens"), ("min_length", "max_length")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} is {least}, which is above {high}, {most}")
        return self

    def new_tokens(self, instruction_tokens: int) -> int:
        """Most tokens of a program whose instruction has so many tokens; at least 1."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if self.max_length is not None:
            return max(1, self.max_length - instruction_tokens)
        return DEFAULT_NEW_TOKENS

    def sampler_settings(self, instruction_tokens: int) -> dict[str, Any]:
        """The arguments of ``softprompt.sampling.draw.GenerationConfig``."""
        longest = self.new_tokens(instruction_tokens)
        least = self.min_length - instruction_tokens if self.min_new_tokens is None else self.min_new_tokens
        return {
            "max_new_tokens": longest,
            "min_new_tokens": min(max(0, least), longest),
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "do_sample": self.do_sample,
            "stop_strings": self.stop_strings,
            "end_tokens": self.end_tokens,
        }
