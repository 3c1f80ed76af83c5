"""The learner: turns rollouts into updates of the policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distributed.checkpoint.serialization import copied
from distributed.config import RunConfig
from distributed.learner import evolution
from distributed.learner.advantages import estimate, groups_of, make_scaling
from distributed.learner.batch import Batch, Drawn, rewards_of
from distributed.learner.imitation import Imitation
from distributed.learner.kinds import points_of
from distributed.learner.optimizers import make_optimizer, make_schedule, make_step, trained
from distributed.learner.policy import Policy
from distributed.learner.snapshot import Snapshot
from distributed.learner.teachers import Teachers
from distributed.learner.variety import VarietyRewards
from distributed.rollout.instructions import Tokens, longest
from distributed.rollout.types import PromptState, Rollouts
from softprompt.finite import check_parameters
from softprompt.models.frozen import FrozenLM
from softprompt.prompts.stats import nearest_tokens, prompt_drift, relative_step
from softprompt.prompts.ten import TerrainEmbeddingNetwork
from softprompt.rl.down_sampling import down_sampled
from softprompt.rl.elites import EliteBuffer
from softprompt.rl.kl import k3, make_kl_controller
from softprompt.rl.ppo import PolicyStats, masked_mean, policy_loss, token_rewards, value_loss
from terrains.base import Terrain
from terrains.niches import Niches


class Learner:
    """Trains one soft prompt for each terrain, or the network they come from, and the layers that settings unfreeze.

    Args:
        config: settings of the run.
        lm: the frozen language model, which is the reference, and the policy too where no layer is trained.
        instructions: token ids of each terrain's instructions, all of them.
        terrains: the terrains themselves, for prompts that come from their features or from another run, and for a
            loop that is to train on them.
        niches: the world's grid, where its programs have descriptors.

    Attributes:
        instructions: token ids of each terrain's instructions, all of them.
        terrains: the terrains themselves, where they were given.
        policy: what is trained.
        source: where its prompts come from.
        niches: the world's grid, or None.
        teachers: the best programs so far, and which of them each prompt learns.
        variety: what makes rewards depend on the other programs of a step.
        imitation: steps of likelihood on the elites.
        version: updates made so far.

    Raises:
        UserError: the settings ask for what this language model or these terrains do not have.
    """

    def __init__(
        self,
        config: RunConfig,
        lm: FrozenLM,
        instructions: Sequence[Sequence[Tokens]],
        terrains: Sequence[Terrain] = (),
        niches: Niches | None = None,
    ) -> None:
        self.config, self.lm = config, lm
        self.instructions, self.terrains = list(instructions), list(terrains)
        method = config.method
        self.niches, self.teachers = niches, Teachers(config, len(instructions), niches)
        self.variety = VarietyRewards(method, niches)
        self.policy = Policy(config, lm, self.instructions, terrains, niches)
        self.source = self.policy.source
        self._start = self.policy.materialised()
        layers = self.policy.layers.trained if self.policy.layers else {}
        self._optimizer = make_optimizer(config, self.source, self.policy.value_head, layers)
        self._schedule = make_schedule(self._optimizer, config)
        self._kl = make_kl_controller(method.init_kl_coef, method.target, method.horizon)
        self._scaling = make_scaling(method, len(instructions))
        self.imitation = Imitation(config, self.policy, self.teachers)
        self.version = 0
        self._reward_gradient = torch.zeros_like(self._start)

    @property
    def elites(self) -> EliteBuffer:
        """Each terrain's best programs so far."""
        return self.teachers.elites

    @property
    def shares_parameters(self) -> bool:
        """Whether terrains share what is trained, so that one's prompt is of no use without the other parameters."""
        return self.policy.shares_parameters

    def prompt_state(self) -> PromptState:
        """What a worker needs to act as the policy is now."""
        return self.policy.state(self.version)

    def snapshot(self) -> Snapshot:
        """The policy as it is now, and what a worker needs to explore with it."""
        return self.policy.snapshot(self.version)

    def warm_start(self) -> Iterator[float]:
        """Learns each terrain's best programs by likelihood; yields the nats a token after each step."""
        warm = self.config.warm_start
        self._settle()
        if warm.init_from_elite:
            self.imitation.start_from_elites()
        yield from self.imitation.steps(warm.elites, warm.steps, self.version, at_once=warm.elites_per_step)
        self.version += 1

    def imitate_best(self) -> Iterator[float]:
        """Learns the run's best program behind each prompt by likelihood; yields the nats a token after each step."""
        self._settle()
        yield from self.imitation.close(self.version)
        self.version += 1

    def update(self, rollouts: Sequence[Rollouts]) -> PolicyStats:
        """Makes one PPO step from rollouts: ppo_epochs passes, each in batches of their own order.

        Args:
            rollouts: of this step, each program scored on its own terrain.

        Returns:
            Statistics under trlx's names, and each terrain's drift and gradient norm under its index.

        Raises:
            NotFiniteError: a loss, a gradient or a parameter after the step is not finite. The learner cannot be used
                after that; a checkpoint restores it.
        """
        method, train = self.config.method, self.config.train
        stats: list[PolicyStats] = []
        before, known = self.policy.materialised(), self.policy.known(rollouts[0].version)
        batch, info = self._prepare(rollouts, known)
        generator = self.policy.generator(self.version)
        for _ in range(method.ppo_epochs):
            order = torch.randperm(len(batch.ids), generator=generator)
            for rows in order.split(train.batch_size):
                stats.append(self._step(batch, rows, known))
            # Once a pass, as in trlx, however many steps of the optimizer a pass has.
            self._kl.update(info["policy/kl_per_program"], train.batch_size)
        mean = {key: float(np.mean([s[key] for s in stats])) for key in stats[0]}
        return mean | self._conclude(info, before)

    def candidates(self) -> list[PromptState]:
        """Perturbed prompts to be compared by their programs: those with something added, then those without it."""
        return evolution.candidates(self.policy, self.config.method, self.version)

    def evolve(self, results: Sequence[Sequence[Rollouts]]) -> PolicyStats:
        """Makes one step of evolution strategies.

        Args:
            results: rollouts behind each of `candidates`, in their order.

        Returns:
            Statistics, as `update` returns them.
        """
        scores = evolution.scores_of(results, len(self.instructions))
        policy, before = self.policy, self.policy.materialised()
        policy.zero_gradients()
        policy.gradient += evolution.gradient_of(policy, self.config.method, self.version, scores)
        self._reward_gradient.copy_(policy.gradient)
        self.source.rows.grad = policy.gradient.clone()
        make_step(self._optimizer, self._schedule, 0.0, policy.gradient)
        return self._conclude(evolution.statistics(results, scores), before)

    def network(self, snapshot: Snapshot) -> TerrainEmbeddingNetwork | None:
        """A copy of the network that a snapshot's prompts come from, None where they come from none."""
        if snapshot.source is None or not isinstance(self.source, TerrainEmbeddingNetwork):
            return None
        network = copy.deepcopy(self.source)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in snapshot.source.items()})
        return network

    def nearest_tokens(self, prompts: np.ndarray) -> list[list[str]]:
        """The token nearest to each row of each prompt, as text.

        Args:
            prompts: shape (n_terrains, n_soft_tokens, d).
        """
        ids, _ = nearest_tokens(torch.from_numpy(prompts).to(self.lm.device), self.lm.embedding)
        return [[str(self.lm.tokenizer.decode([token])) for token in rows] for rows in ids[..., 0].tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Everything from which `load_state_dict` continues bit for bit, as copies that later steps do not change."""
        state = self.policy.state_dict() | {
            "start": self._start,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "kl": self._kl.state_dict(),
            "moments": self._scaling.state_dict(),
            "elites": self.teachers.elites.state_dict(),
            "teachers": self.teachers.state_dict(),
            "variety": self.variety.controller.state_dict(),
            "version": self.version,
        }
        return copied(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another learner of the same configuration was.

        Raises:
            ValueError: the prompts have another shape, or come from elsewhere, or other layers are trained.
        """
        self.policy.load_state_dict(state)
        self._start = state["start"].to(self._start)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._kl.load_state_dict(state["kl"])
        self._scaling.load_state_dict(state["moments"])
        self.teachers.load_state_dict(state["elites"], state.get("teachers"))
        if "variety" in state:  # not in checkpoints of before rewards could pay for it
            self.variety.controller.load_state_dict(state["variety"])
        self.version = state["version"]

    @torch.no_grad()
    def _prepare(self, rollouts: Sequence[Rollouts], known: Tensor | None = None) -> tuple[Batch, PolicyStats]:
        """Joins the rollouts and computes reference log-probabilities, rewards and advantages."""
        method, drawn = self.config.method, Drawn.of(rollouts, self.lm.device)
        group = groups_of(method, drawn.terrain, drawn.instruction)
        earned = rewards_of(rollouts).float().to(self.lm.device)
        earned, variety = self.variety(earned, rollouts, (drawn.ids, drawn.mask), group, self.teachers.archive)
        scores = self._scaling(earned, drawn.terrain)
        info = drawn.statistics(len(self.instructions)) | variety
        if method.down_sample_to is not None and method.down_sample_to < len(drawn.ids):
            learnt = down_sampled(scores if scores.ndim == 1 else scores.sum(1), group, method.down_sample_to)
            drawn, scores, group = drawn.rows(learnt), scores[learnt], group[learnt]
        ids, mask, logprobs, prompt, instruction = (
            drawn.ids, drawn.mask, drawn.logprobs, drawn.prompt, drawn.instruction
        )  # fmt: skip
        ref_logprobs = self.policy.reference(ids, mask, prompt, instruction)
        values = torch.zeros_like(logprobs)
        if self.policy.value_head:
            values = self.policy.evaluate(ids, mask, prompt, known, instruction)[1]
        kl_price = self._kl.value if method.kl_in == "reward" else 0.0
        token_level = token_rewards(scores, logprobs, ref_logprobs, mask, kl_price)
        if method.entropy_coef:
            token_level = token_level - method.entropy_coef * logprobs * mask
        advantages, returns = estimate(method, token_level, values, mask, group, drawn.valid)
        info |= drawn.divergence(ref_logprobs) | {
            "kl_ctl_value": self._kl.value,
            "rollout_scores/running_mean": self._scaling.moments.mean,
            "rollout_scores/running_std": self._scaling.moments.std,
        }
        return Batch(prompt, instruction, ids, mask, logprobs, ref_logprobs, advantages, values, returns), info

    def _step(self, batch: Batch, rows: Tensor, known: Tensor | None) -> PolicyStats:
        """One step of the optimizer on some rows of the batch; gradients are accumulated over minibatches."""
        method, size = self.config.method, self.config.train.minibatch_size or len(rows)
        self.policy.zero_gradients()
        totals: PolicyStats = {}
        parts = rows.split(size)
        for part in parts:
            share = len(part) / len(rows)
            loss, stats = self._loss(batch.rows(part), known)
            (loss * share).backward()
            totals = {key: totals.get(key, 0.0) + share * value for key, value in stats.items()}
        self._reward_gradient.copy_(self.policy.gradient)
        taught = self.teachers.batch(method.replay_size) if method.replay_weight > 0 else None
        if taught is not None and len(taught.ids):
            imitation = self.imitation.loss(taught, known)
            (method.replay_weight * imitation).backward()
            self.imitation.gradient.copy_(self.policy.gradient - self._reward_gradient)
            totals["losses/replay_loss"] = imitation.item()
        make_step(self._optimizer, self._schedule, totals["losses/total_loss"], self.policy.gradient)
        return totals

    def _loss(self, batch: Batch, known: Tensor | None) -> tuple[Tensor, PolicyStats]:
        """The loss of a minibatch, and its statistics under trlx's names."""
        method = self.config.method
        logprobs, values = self.policy.evaluate(batch.ids, batch.mask, batch.prompt, known, batch.instruction)
        most = method.rollout_kwargs.new_tokens(longest(self.instructions))
        divisor = len(batch.ids) * most if method.estimator == "dr_grpo" else None
        loss, stats = policy_loss(logprobs, batch.logprobs, batch.advantages, batch.mask, method.cliprange, divisor)
        if method.kl_in == "loss":
            loss = loss + self._kl.value * masked_mean(k3(logprobs, batch.ref_logprobs), batch.mask)
        if self.policy.value_head:
            critic = (values, batch.values, batch.returns, batch.mask, method.cliprange_value)
            error, more = value_loss(*critic)
            loss, stats = loss + method.vf_coef * error, stats | more
        return loss, stats | {"losses/total_loss": loss.item()}

    def _conclude(self, info: PolicyStats, before: Tensor) -> PolicyStats:
        """Ends an update: the steps of replay, where there are any, and what all of it did to the prompts."""
        method = self.config.method
        if method.prompts_per_terrain > 1:
            info["prompts/born"] = float(self._settle())
        imitation = list(self.imitation.steps(method.replay_size, method.replay_steps, self.version))
        if imitation:
            info["losses/replay_steps_loss"] = imitation[-1]
        self.version += 1
        return info | self._movement(before)

    def _settle(self) -> int:
        """Gives prompts cells of their own, where there are several a terrain; returns how many were born anew.

        Not while rollouts are learnt from, which the prompts of before have written.
        """
        if isinstance(self.source, TerrainEmbeddingNetwork):
            born, config = self.teachers.settle(), self.config
            if self.niches is not None and self.source.points is not None:
                several, seed = config.method.prompts_per_terrain, config.train.seed
                self.source.move(points_of(self.teachers.owned, several, self.niches, seed))
            return born
        rows = self.source.rows
        moments = [m for m in self._optimizer.state.get(rows, {}).values() if m.shape == rows.shape]
        return self.teachers.settle(rows.data, moments)

    def _movement(self, before: Tensor) -> PolicyStats:
        """Of each terrain's prompt: drift, how far this update has moved it, and the norms of its last gradients.

        ``grad_norm`` is of the loss of the rewards alone, ``replay_grad_norm`` of that of the replayed programs.
        """
        check_parameters(trained(self._optimizer))
        prompts = self.policy.materialised()
        watched = {"grad_norm": self._reward_gradient.flatten(1).norm(dim=1), "moved": relative_step(prompts, before)}
        method = self.config.method
        in_the_loss = method.replay_weight > 0 and method.estimator != "es"
        if len(self.teachers) and (in_the_loss or method.replay_steps):
            watched["replay_grad_norm"] = self.imitation.gradient.flatten(1).norm(dim=1)
        if method.measure_soft_embedding_drift:
            watched["drift"] = prompt_drift(prompts, self._start)
        by_terrain = {name: values.view(len(self.instructions), -1).mean(dim=1) for name, values in watched.items()}
        stats = {f"{name}/{k}": float(v) for name, values in by_terrain.items() for k, v in enumerate(values)}
        groups = enumerate(self._optimizer.param_groups)
        return stats | {f"learning_rate_group_{k}": float(group["lr"]) for k, group in groups}
