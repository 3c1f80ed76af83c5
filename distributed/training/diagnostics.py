"""What a run's curves hide: that nothing is learnt, said in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PATIENCE = 5
"""Steps for which something has to be so before it is said."""

HARDLY = 0.005
"""A prompt that moves by less of its length in a step hardly moves: twenty such steps leave it where it was."""

INVALID, ALIKE, STILL = "invalid", "alike", "still"


def diagnostics(steps: Sequence[Mapping[str, Any]], terrains: Sequence[str]) -> dict[str, str]:
    """Returns what is wrong with the last steps of a run, by kind; nothing for a run that learns, or has just begun.

    Args:
        steps: metrics of the run's steps: by terrain ``valid``, ``reward_std`` (deviation of the rewards of its group)
            and ``moved`` (share of its length that the prompt has moved). What a step lacks is not judged.
        terrains: names of the terrains.
    """
    recent = steps[-PATIENCE:]
    if len(recent) < PATIENCE:
        return {}

    def throughout(name: str, limit: float) -> bool:
        values = [step.get(f"{name}/{terrain}") for step in recent for terrain in terrains]
        return all(value is not None and value <= limit for value in values)

    found = {}
    if throughout("valid", 0):
        found[INVALID] = (
            f"no valid program in any group for {PATIENCE} steps: nothing can be learnt. Lower method.n_soft_tokens, "
            "set method.initialize_from_vocab to true, or take a language model that was pretrained with prefixes"
        )
    elif throughout("reward_std", 0):
        found[ALIKE] = (
            f"no group carries a signal: for {PATIENCE} steps the programs of each terrain have scored alike, so there "
            "is nothing to compare. Raise method.num_rollouts or the temperature of method.gen_experience_kwargs"
        )
    if throughout("moved", HARDLY):
        share = max(step[f"moved/{terrain}"] for step in recent for terrain in terrains)
        found[STILL] = (
            f"the prompts hardly move: for {PATIENCE} steps by at most {share:.2g} of their length each. Raise "
            "optimizer.kwargs.lr; a prompt wants 0.01 to 0.1, far more than a language model"
        )
    return found
