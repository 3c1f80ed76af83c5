"""Imitation: steps that raise the likelihood of each terrain's best programs behind its prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR

from distributed.config import RunConfig
from distributed.learner.optimizers import make_imitator, make_step, trained
from distributed.learner.policy import Policy
from softprompt.finite import check_parameters
from softprompt.prompts.init import text_rows
from softprompt.rl.elites import EliteBuffer, likelihood_loss


class Imitation:
    """Trains a policy's prompts on elites. Unfrozen layers of the language model stay as they are.

    Args:
        config: settings of the run.
        policy: whose prompts are trained.
        elites: each terrain's best programs.

    Attributes:
        gradient: of the prompts in the last step, shape (n_terrains, n_soft_tokens, d).
    """

    def __init__(self, config: RunConfig, policy: Policy, elites: EliteBuffer) -> None:
        self._config, self._policy, self._elites = config, policy, elites
        self.gradient = torch.zeros_like(policy.gradient)

    @torch.no_grad()
    def start_from_elites(self) -> None:
        """Sets the rows of each prompt to the tokens of its terrain's best program, where there is one."""
        lm = self._policy.lm
        for terrain, rows in enumerate(self._policy.source.rows):
            for elite in self._elites.best(terrain)[:1]:
                rows.copy_(text_rows(lm.embedding, list(elite.ids), len(rows)))

    def steps(self, best: int, steps: int, version: int, falls: bool = False) -> Iterator[float]:
        """Makes steps on the best programs of each terrain; yields the nats a token after each.

        Args:
            best: programs a terrain.
            steps: of an optimizer that starts afresh.
            version: updates of the policy before.
            falls: whether the learning rate falls to zero.
        """
        batch = self._elites.batch(best=best)
        if len(batch.ids) == 0:
            return
        policy, optimizer = self._policy, make_imitator(self._config, self._policy.source)
        schedule = LinearLR(optimizer, 1.0, 0.0 if falls else 1.0, max(1, steps))
        for step in range(steps):
            policy.zero_gradients()
            loss = self.loss(batch, policy.known(version, step))
            loss.backward()
            self.gradient.copy_(policy.gradient)
            make_step(optimizer, schedule, loss.item(), policy.gradient)
            yield loss.item()
        check_parameters(trained(optimizer))

    def loss(self, batch: Any, known: Tensor | None = None) -> Tensor:
        """Nats a token of elites behind their terrain's prompt; ``known`` as in `Policy`."""
        of_rows = (batch.ids, batch.mask, batch.terrain, batch.instruction)
        ids, mask, terrain, instruction = (each.to(self._policy.lm.device) for each in of_rows)
        return likelihood_loss(self._policy.evaluate(ids, mask, terrain, known, instruction)[0], mask)
