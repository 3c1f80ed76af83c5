"""Advantage estimators: how much better than expected each token was.

All but :func:`gae`, which needs a critic's values, have one signature, ``(rewards, mask, terrain, valid=None) ->
advantages``, and return (b, l) tensors that are zero where the mask is. Beside them stand evolution strategies, which
compare prompts and not tokens.
"""

from softprompt.estimators.dr_grpo import dr_grpo
from softprompt.estimators.evolution import evolution_gradient, perturbations
from softprompt.estimators.gae import gae
from softprompt.estimators.grpo import grpo
from softprompt.estimators.reinforce_pp import reinforce_pp
from softprompt.estimators.rloo import rloo
from softprompt.estimators.shaping import rank_advantages

__all__ = [
    "dr_grpo",
    "evolution_gradient",
    "gae",
    "grpo",
    "perturbations",
    "rank_advantages",
    "reinforce_pp",
    "rloo",
]
