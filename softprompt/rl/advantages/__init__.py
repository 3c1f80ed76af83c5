"""Advantage estimators: how much better than expected each token was.

All but :func:`gae`, which needs a critic's values, have one signature, ``(rewards, mask, terrain, valid=None) ->
advantages``, and return (b, l) tensors that are zero where the mask is. Beside them stand evolution strategies, which
compare prompts and not tokens.
"""

from softprompt.rl.advantages.gae import gae
from softprompt.rl.advantages.grpo import dr_grpo, grpo
from softprompt.rl.advantages.rank import rank_advantages
from softprompt.rl.advantages.reinforce_pp import reinforce_pp
from softprompt.rl.advantages.rloo import rloo
from softprompt.rl.evolution_strategies import evolution_gradient, perturbations

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
