"""Imitation: steps that raise the likelihood of each terrain's best programs behind its prompt."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR

from distributed.config import RunConfig
from distributed.learner.optimizers import make_imitator, make_step, trained
from distributed.learner.policy import Policy
from distributed.learner.teachers import Teachers
from softprompt.finite import check_parameters
from softprompt.prompts.init import text_rows
from softprompt.rl.elites import EliteBatch, likelihood_loss


class Imitation:
    """Trains a policy's prompts on elites. Unfrozen layers of the language model stay as they are.

    Args:
        config: settings of the run.
        policy: whose prompts are trained.
        teachers: what they learn.

    Attributes:
        gradient: of the prompts in the last step, shape (n_prompts, n_soft_tokens, d).
    """

    def __init__(self, config: RunConfig, policy: Policy, teachers: Teachers) -> None:
        self._config, self._policy, self._teachers = config, policy, teachers
        self.gradient = torch.zeros_like(policy.gradient)

    @torch.no_grad()
    def start_from_elites(self) -> None:
        """Sets the rows of each prompt to the tokens of the program that it learns, where there is one."""
        lm, rows, batch = self._policy.lm, self._policy.source.rows, self._teachers.batch(1)
        for prompt, ids, real in zip(batch.prompt.tolist(), batch.ids, batch.mask, strict=True):
            rows[prompt] = text_rows(lm.embedding, ids[real].tolist(), rows.shape[1])

    def steps(
        self, best: int, steps: int, version: int, falls: bool = False, at_once: int | None = None
    ) -> Iterator[float]:
        """Makes steps on the best programs of each terrain; yields the nats a token after each.

        Args:
            best: programs a terrain.
            steps: of an optimizer that starts afresh.
            version: updates of the policy before.
            falls: whether the learning rate falls to zero.
            at_once: how many of a terrain's programs a step takes, in turn; None for all.
        """
        batch = self._teachers.batch(best)
        if len(batch.ids) == 0:
            return
        policy, optimizer = self._policy, make_imitator(self._config, self._policy.source)
        schedule = LinearLR(optimizer, 1.0, 0.0 if falls else 1.0, max(1, steps))
        for step in range(steps):
            policy.zero_gradients()
            loss = self.loss(batch.in_turn(step, at_once), policy.known(version, step))
            loss.backward()
            self.gradient.copy_(policy.gradient)
            make_step(optimizer, schedule, loss.item(), policy.gradient)
            yield loss.item()
        check_parameters(trained(optimizer))

    def loss(self, batch: EliteBatch, known: Tensor | None = None) -> Tensor:
        """Nats a token of programs behind the prompts that learn them; ``known`` as in `Policy`.

        Those that a resting prompt knows well enough do not count (``method.prompt_rests_at``).
        """
        of_rows = (batch.ids, batch.mask, batch.prompt, batch.instruction)
        ids, mask, prompt, instruction = (each.to(self._policy.lm.device) for each in of_rows)
        logprobs, _ = self._policy.evaluate(ids, mask, prompt, known, instruction)
        method = self._config.method
        if method.prompts_per_terrain > 1 and method.prompt_rests_at > 0:
            awake = -(logprobs.detach() * mask).sum(dim=1) > method.prompt_rests_at
            mask = mask & awake[:, None]
        return likelihood_loss(logprobs, mask)
