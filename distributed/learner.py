"""The learner: holds what is trained, and turns rollouts into an update of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distributed.config import MethodConfig, RunConfig
from distributed.messages import PromptState, Rollouts
from softprompt.estimators import dr_grpo, gae, grpo, rank_advantages, reinforce_pp, rloo
from softprompt.kl import k1, k3, make_kl_controller
from softprompt.model import FrozenLM
from softprompt.policy import evaluate
from softprompt.ppo import PolicyStats, masked_mean, policy_loss, token_rewards, value_loss, whiten
from softprompt.prompts import SoftPromptTable, gradient_norms, initial_prompts, nearest_tokens, prompt_drift
from softprompt.replay import EliteBuffer, likelihood_loss
from softprompt.score_scaling import RunningMoments, clip_scores, scale_scores
from softprompt.value_head import ValueHead

GROUPED = {"rloo": rloo, "grpo": grpo, "dr_grpo": dr_grpo, "reinforce_pp": reinforce_pp}

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass
class _Batch:
    """The programs of one step as tensors, with what PPO needs to know of each token; all (b, l) unless said."""

    ids: Tensor
    mask: Tensor
    terrain: Tensor  # (b,)
    logprobs: Tensor
    ref_logprobs: Tensor
    advantages: Tensor
    values: Tensor
    returns: Tensor

    def rows(self, index: Tensor) -> _Batch:
        """Some of the programs, cut to the longest of them."""
        width = int(self.mask[index].sum(1).max())
        cut = {k: v[index][:, :width] for k, v in vars(self).items() if k != "terrain"}
        return _Batch(terrain=self.terrain[index], **cut)


class Learner:
    """Trains one soft prompt per terrain, and the value head, while the language model stays as it is.

    Args:
        config: settings of the run.
        lm: the frozen language model, policy and reference at once.
        instructions: token ids of each terrain's hard prompt.

    Attributes:
        instructions: token ids of each terrain's hard prompt.
        table: the soft prompts.
        elites: each terrain's best programs so far.
        version: updates made so far.
    """

    def __init__(self, config: RunConfig, lm: FrozenLM, instructions: Sequence[tuple[int, ...]]) -> None:
        self.config, self.lm = config, lm
        self.instructions = list(instructions)
        method = config.method
        generator = torch.Generator().manual_seed(config.train.seed)
        specials = lm.tokenizer.all_special_ids
        birth = (method.n_soft_tokens, generator, method.initialize_from_vocab, lm.token_counts, specials)
        self.table = SoftPromptTable(initial_prompts(lm.embedding, len(instructions), *birth)).to(lm.device)
        self._start = self.table.weight.detach().clone()
        torch.manual_seed(config.train.seed)
        self.value_head = ValueHead(lm.d_model).to(lm.device) if method.estimator == "gae" else None
        self._optimizer = OPTIMIZERS[config.optimizer.name](self._parameters(), **config.optimizer.arguments)
        self._schedule = make_schedule(self._optimizer, config)
        self._kl = make_kl_controller(method.init_kl_coef, method.target, method.horizon)
        self._moments = RunningMoments()
        self._neutral_sampling = method.rollout_kwargs.draws_what_the_model_says
        self.elites = EliteBuffer(len(instructions), max(method.replay_size, config.warm_start.elites))
        self.version = 0

    def prompt_state(self) -> PromptState:
        """What a worker needs to act as the policy is now."""
        return PromptState(self.version, self.table.weight.detach().cpu().numpy().copy())

    def warm_start(self) -> Iterator[float]:
        """Learns each terrain's best programs by likelihood; yields the nats a token after each step."""
        warm = self.config.warm_start
        yield from self._imitate(warm.elites, warm.steps)
        self.version += 1

    def _imitate(self, best: int, steps: int) -> Iterator[float]:
        """Makes steps of likelihood on the best programs of each terrain; yields the nats a token after each.

        Its optimizer is its own: the moments of imitation say nothing about PPO.
        """
        batch = self.elites.batch(best=best)
        if len(batch.ids) == 0:
            return
        optimizer = torch.optim.Adam([self.table.weight], lr=self.config.warm_start.lr)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = self._imitation(batch)
            loss.backward()
            optimizer.step()
            yield loss.item()

    def update(self, rollouts: Sequence[Rollouts]) -> PolicyStats:
        """Makes one PPO step from rollouts: ppo_epochs passes, each in batches of their own order.

        Args:
            rollouts: of this step, scored each on its own terrain.

        Returns:
            Statistics under trlx's names, and each terrain's drift and gradient norm under its index.
        """
        method, train = self.config.method, self.config.train
        stats: list[PolicyStats] = []
        batch, info = self._prepare(rollouts)
        generator = torch.Generator().manual_seed(train.seed * 1_000_003 + self.version)
        for _ in range(method.ppo_epochs):
            order = torch.randperm(len(batch.ids), generator=generator)
            for rows in order.split(train.batch_size):
                stats.append(self._step(batch, rows))
        imitation = list(self._imitate(method.replay_size, method.replay_steps))
        if imitation:
            info["losses/replay_steps_loss"] = imitation[-1]
        self._kl.update(info["policy/kl_per_program"], len(batch.ids))
        self.version += 1
        mean = {key: float(np.mean([s[key] for s in stats])) for key in stats[0]}
        return mean | info | self._watch()

    def nearest_tokens(self) -> list[list[str]]:
        """The token nearest to each row of each prompt, as text."""
        ids, _ = nearest_tokens(self.table.weight, self.lm.embedding)
        return [[str(self.lm.tokenizer.decode([token])) for token in rows] for rows in ids[..., 0].tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Everything from which `load_state_dict` continues bit for bit."""
        return {
            "prompts": self.table.weight.detach().clone(),
            "start": self._start,
            "value_head": self.value_head.state_dict() if self.value_head else None,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "kl": self._kl.state_dict(),
            "moments": self._moments.state_dict(),
            "elites": self.elites.state_dict(),
            "version": self.version,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another learner of the same configuration was.

        Raises:
            ValueError: the prompts have another shape.
        """
        if state["prompts"].shape != self.table.weight.shape:
            raise ValueError(
                f"prompts of shape {tuple(state['prompts'].shape)} do not fit {tuple(self.table.weight.shape)}: "
                "the checkpoint is of a run with other terrains, another n_soft_tokens or another language model"
            )
        with torch.no_grad():
            self.table.weight.copy_(state["prompts"])
        self._start = state["start"].to(self._start)
        if self.value_head:
            self.value_head.load_state_dict(state["value_head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._kl.load_state_dict(state["kl"])
        self._moments.load_state_dict(state["moments"])
        self.elites.load_state_dict(state["elites"])
        self.version = state["version"]

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [self.table.weight, *(self.value_head.parameters() if self.value_head else ())]

    def _evaluate(self, ids: Tensor, mask: Tensor, terrain: Tensor, prompted: bool = True) -> tuple[Tensor, Tensor]:
        """Log-probabilities (b, l) with or without the soft prompt, and the critic's values (zeros without one)."""
        prompts = self.table(terrain) if prompted else None
        instructions = [self.instructions[k] for k in terrain.tolist()]
        critic = self.value_head if prompted else None
        logprobs, hidden = evaluate(self.lm, prompts, instructions, ids, mask, want_hidden=critic is not None)
        return logprobs, torch.zeros_like(logprobs) if critic is None or hidden is None else critic(hidden.detach())

    @torch.no_grad()
    def _prepare(self, rollouts: Sequence[Rollouts]) -> tuple[_Batch, PolicyStats]:
        """Joins the rollouts and works out references, rewards and advantages."""
        method = self.config.method
        ids, mask, logprobs = (_join([getattr(r, name) for r in rollouts]) for name in ("ids", "mask", "logprobs"))
        ids, mask, logprobs = (t.to(self.lm.device) for t in (ids, mask, logprobs))
        terrain = torch.from_numpy(np.concatenate([r.terrain for r in rollouts])).to(self.lm.device)
        rewards = torch.from_numpy(np.concatenate([r.rewards[:, 0] for r in rollouts])).float().to(self.lm.device)
        valid = torch.tensor([row[0] is None for r in rollouts for row in r.failures], device=self.lm.device)
        ref_logprobs, _ = self._evaluate(ids, mask, terrain, prompted=False)
        values = torch.zeros_like(logprobs)
        if self.value_head or not self._neutral_sampling:
            own, values = self._evaluate(ids, mask, terrain)
            # Tempered or cut sampling has log-probabilities of its own; the ratio needs the policy's.
            logprobs = logprobs if self._neutral_sampling else own
        scores = self._scale(rewards)
        price = self._kl.value if method.kl_in == "reward" else 0.0
        paid = token_rewards(scores, logprobs, ref_logprobs, mask, price)
        advantages, returns = self._advantages(paid, values, mask, terrain, valid)
        info = {
            "kl_ctl_value": self._kl.value,
            "policy/kl_per_token": masked_mean(k1(logprobs, ref_logprobs), mask).item(),
            "policy/kl_per_program": (k1(logprobs, ref_logprobs) * mask).sum(1).mean().item(),
            "policy/sqrt_kl": masked_mean(k3(ref_logprobs, logprobs), mask).clamp(min=0).sqrt().item(),
            "rollout_scores/mean": rewards.mean().item(),
            "rollout_scores/std": rewards.std(correction=0).item(),
            "rollout_scores/running_mean": self._moments.mean,
            "rollout_scores/running_std": self._moments.std,
            "reward/mean": rewards.mean().item(),
        }
        return _Batch(ids, mask, terrain, logprobs, ref_logprobs, advantages, values, returns), info

    def _scale(self, rewards: Tensor) -> Tensor:
        """trlx's order: clip, then divide."""
        method = self.config.method
        self._moments.update(rewards)
        clipped = clip_scores(rewards, method.cliprange_reward)
        if method.scale_reward == "running":
            return scale_scores(clipped, self._moments.std)
        if method.scale_reward == "ref":
            return scale_scores(clipped, method.ref_std or float(rewards.std()))
        return clipped

    def _advantages(
        self, rewards: Tensor, values: Tensor, mask: Tensor, terrain: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        method: MethodConfig = self.config.method
        if method.estimator == "gae":
            advantages, returns = gae(rewards, values, mask, method.gamma, method.lam)
            return whiten(advantages, mask), returns
        if method.advantage_shaping == "rank":
            return rank_advantages(rewards, mask, terrain, valid), torch.zeros_like(rewards)
        return GROUPED[method.estimator](rewards, mask, terrain, valid), torch.zeros_like(rewards)

    def _step(self, batch: _Batch, rows: Tensor) -> PolicyStats:
        """One step of the optimizer on some programs, their gradients added up over minibatches."""
        method, size = self.config.method, self.config.train.minibatch_size or len(rows)
        self._optimizer.zero_grad()
        totals: PolicyStats = {}
        parts = rows.split(size)
        for part in parts:
            share = len(part) / len(rows)
            loss, stats = self._loss(batch.rows(part))
            (loss * share).backward()
            totals = {key: totals.get(key, 0.0) + share * value for key, value in stats.items()}
        if method.replay_weight > 0 and len(self.elites):
            imitation = self._imitation(self.elites.batch(best=method.replay_size))
            (method.replay_weight * imitation).backward()
            totals["losses/replay_loss"] = imitation.item()
        self._optimizer.step()
        self._schedule.step()
        return totals

    def _loss(self, batch: _Batch) -> tuple[Tensor, PolicyStats]:
        method = self.config.method
        logprobs, values = self._evaluate(batch.ids, batch.mask, batch.terrain)
        longest = method.rollout_kwargs.new_tokens(len(self.instructions[0]))
        divisor = len(batch.ids) * longest if method.estimator == "dr_grpo" else None
        loss, stats = policy_loss(logprobs, batch.logprobs, batch.advantages, batch.mask, method.cliprange, divisor)
        if method.kl_in == "loss":
            loss = loss + self._kl.value * masked_mean(k3(logprobs, batch.ref_logprobs), batch.mask)
        if self.value_head:
            critic = (values, batch.values, batch.returns, batch.mask, method.cliprange_value)
            error, more = value_loss(*critic)
            loss, stats = loss + method.vf_coef * error, stats | more
        return loss, stats | {"losses/total_loss": loss.item()}

    def _imitation(self, batch: Any) -> Tensor:
        """Nats a token of elites behind their terrain's prompt."""
        ids, mask, terrain = (t.to(self.lm.device) for t in (batch.ids, batch.mask, batch.terrain))
        return likelihood_loss(self._evaluate(ids, mask, terrain)[0], mask)

    def _watch(self) -> PolicyStats:
        """Each terrain's drift and the norm of its last gradient; what tells that a prompt does not move."""
        drift, norms = prompt_drift(self.table.weight, self._start), gradient_norms(self.table.weight)
        stats = {f"grad_norm/{k}": float(v) for k, v in enumerate(norms)}
        if self.config.method.measure_soft_embedding_drift:
            stats |= {f"drift/{k}": float(v) for k, v in enumerate(drift)}
        return stats | {"learning_rate_group_0": self._optimizer.param_groups[0]["lr"]}


def make_schedule(optimizer: torch.optim.Optimizer, config: RunConfig) -> torch.optim.lr_scheduler.LRScheduler:
    """Returns the schedule of the learning rate over the optimizer steps of a whole run."""
    name, arguments = config.scheduler.name, dict(config.scheduler.arguments)
    batches = -(-config.method.num_rollouts // config.train.batch_size)
    steps = config.train.total_steps * config.method.ppo_epochs * batches
    if name == "cosine_annealing":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, **{"T_max": steps, **arguments})
    if name == "linear":
        return torch.optim.lr_scheduler.LinearLR(optimizer, **{"total_iters": steps, **arguments})
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _join(parts: Sequence[np.ndarray]) -> Tensor:
    """Stacks right-padded arrays (b_i, l_i) to one (b, l)."""
    width = max(p.shape[1] for p in parts)
    return torch.from_numpy(np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in parts]))
