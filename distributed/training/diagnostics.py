"""Messages for a run that learns nothing or has diverged: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distributed.config import RunConfig
from softprompt.finite import NotFiniteError

PATIENCE = 5
"""Steps for which something has to hold before there is a message."""

HARDLY = 0.005
"""A prompt that moves by a smaller share of its length in a step counts as still: twenty such steps are 10%."""

REPEATED = 0.1
"""A prompt repeats itself where no more than this share of its programs are different ones."""

INVALID, ALIKE, STILL, COLLAPSED = "invalid", "alike", "still", "collapsed"


def diagnostics(steps: Sequence[Mapping[str, Any]], terrains: Sequence[str]) -> dict[str, str]:
    """Returns what is wrong with the last steps of a run, by kind; nothing for a run that learns, or has just begun.

    Args:
        steps: metrics of the run's steps: by terrain ``valid``, ``reward_std`` (deviation of the rewards of its group),
            ``moved`` (share of its length that the prompt has moved) and ``unique`` (share of different programs).
            Where a step lacks a metric, there is no message about it.
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
    if throughout("unique", REPEATED):
        share = max(step[f"unique/{terrain}"] for step in recent for terrain in terrains)
        found[COLLAPSED] = (
            f"the prompts repeat themselves: for {PATIENCE} steps at most {share:.0%} of a terrain's programs were "
            "different. Set method.unique_target to the share that you want, such as 0.6, or raise "
            "method.prompts_per_terrain"
        )
    return found


def divergence(error: NotFiniteError, config: RunConfig, terrains: Sequence[str], stage: str, step: int) -> str:
    """Returns one line on numbers that are not finite: the place in the run, the terrains, and a remedy.

    Args:
        error: says which numbers, and rows of which prompts.
        config: settings of the run.
        terrains: names of the terrains.
        stage: of the run.
        step: PPO steps made before.
    """
    names = ", ".join(terrains[k] for k in error.terrains) or "all terrains"
    where = f"step {step + 1}" if stage == "steps" else stage.replace("_", " ")
    remedy = f"lower optimizer.kwargs.lr, now {config.optimizer.kwargs.lr:g}, or method.init_kl_coef"
    if stage == "untuned":  # nothing has been trained yet
        remedy = "look at the language model's weights, or set compute.dtype to float32"
    return f"{where}, {names}: {error.what} is NaN or infinite; {remedy}"
