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
from softprompt.prompts.ten import TerrainEmbeddingNetwork
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

    def steps(self, best: int, steps: int, version: int, at_once: int | None = None) -> Iterator[float]:
        """Makes steps on the best programs of each terrain; yields the nats a token after each.

        Args:
            best: programs a terrain.
            steps: of an optimizer that starts afresh.
            version: updates of the policy before.
            at_once: how many of a terrain's programs a step takes, in turn; None for all.
        """
        batch = self._teachers.batch(best)
        yield from self._steps(batch, steps, version, at_once, self._config.method.prompt_rests_at)

    def close(self, version: int) -> Iterator[float]:
        """Makes the last steps of a run, on one program a prompt; yields the nats a token after each.

        The learning rate falls to zero, since no rollouts follow that would average out the last steps' noise.
        """
        method = self._config.method
        batch = self._teachers.batch(1)
        yield from self._steps(batch, method.closing_steps, version, None, method.closing_rests_at, falls=True)

    def _steps(
        self,
        batch: EliteBatch,
        steps: int,
        version: int,
        at_once: int | None,
        rests_at: float,
        falls: bool = False,
    ) -> Iterator[float]:
        """The steps of a fresh optimizer; prompts that know their program to ``rests_at`` nats take no part in more.

        Those of a network take part again where the steps for others make them forget it.
        """
        if len(batch.ids) == 0:
            return
        policy, optimizer = self._policy, make_imitator(self._config, self._policy.source)
        schedule = LinearLR(optimizer, 1.0, 0.0 if falls else 1.0, max(1, steps))
        for step in range(steps):
            policy.zero_gradients()
            loss, awake = self._loss(batch.in_turn(step, at_once), policy.known(version, step), rests_at)
            if not awake.any():
                break
            loss.backward()
            self.gradient.copy_(policy.gradient)
            make_step(optimizer, schedule, loss.item(), policy.gradient)
            yield loss.item()
            if not awake.all() and not isinstance(policy.source, TerrainEmbeddingNetwork):
                batch = batch.rows(awake.cpu())
        check_parameters(trained(optimizer))

    def loss(self, batch: EliteBatch, known: Tensor | None = None) -> Tensor:
        """Nats a token of programs behind the prompts that learn them; ``known`` as in `Policy`.

        Those that a resting prompt knows well enough do not count (``method.prompt_rests_at``).
        """
        return self._loss(batch, known, self._config.method.prompt_rests_at)[0]

    def _loss(self, batch: EliteBatch, known: Tensor | None, rests_at: float) -> tuple[Tensor, Tensor]:
        """That loss, and which programs counted, shape (b,) bool."""
        of_rows = (batch.ids, batch.mask, batch.prompt, batch.instruction)
        ids, mask, prompt, instruction = (each.to(self._policy.lm.device) for each in of_rows)
        logprobs, _ = self._policy.evaluate(ids, mask, prompt, known, instruction)
        awake = mask.any(dim=1)
        if self._config.method.prompts_per_terrain > 1 and rests_at > 0:
            awake = -(logprobs.detach() * mask).sum(dim=1) > rests_at
        return likelihood_loss(logprobs, mask & awake[:, None]), awake
