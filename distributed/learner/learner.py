"""The learner: holds what is trained, and turns rollouts into an update of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from distributed.checkpoint.serialization import copied
from distributed.config import RunConfig
from distributed.errors import UserError
from distributed.learner.advantages import RewardScaling, estimate
from distributed.learner.batch import Batch, join, mean_reward, reward_std
from distributed.learner.optimizers import make_imitator, make_optimizer, make_schedule
from distributed.learner.prompt_init import make_source
from distributed.learner.snapshot import Snapshot
from distributed.rollout.types import LayerWeights, PromptState, Rollouts
from softprompt.finite import check_parameters, check_step
from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import UnfrozenLM, top_layers
from softprompt.prompts.init import text_rows
from softprompt.prompts.stats import nearest_tokens, prompt_drift, relative_step
from softprompt.prompts.ten import TerrainEmbeddingNetwork
from softprompt.rl.advantages import evolution_gradient, perturbations
from softprompt.rl.elites import EliteBuffer, likelihood_loss
from softprompt.rl.kl import k1, k3, make_kl_controller
from softprompt.rl.ppo import PolicyStats, masked_mean, policy_loss, token_rewards, value_loss
from softprompt.rl.value_head import ValueHead
from terrains.base import Terrain

DROPOUT = 11
"""Part of the seeds that decide which terrains a network is told as unknown."""


class Learner:
    """Trains soft prompts, one for each terrain or the network they come from, and what else the settings unfreeze.

    Args:
        config: settings of the run.
        lm: the frozen language model, which is the reference, and the policy too where no layer is trained.
        instructions: token ids of each terrain's hard prompt.
        terrains: the terrains themselves, for prompts that come from their features or from another run.

    Attributes:
        instructions: token ids of each terrain's hard prompt.
        source: where the prompts come from.
        elites: each terrain's best programs so far.
        version: updates made so far.

    Raises:
        UserError: the settings ask for what this language model or these terrains do not have.
    """

    def __init__(
        self,
        config: RunConfig,
        lm: FrozenLM,
        instructions: Sequence[tuple[int, ...]],
        terrains: Sequence[Terrain] = (),
    ) -> None:
        self.config, self.lm = config, lm
        self.instructions = list(instructions)
        method = config.method
        self.source = make_source(config, lm, len(instructions), terrains)
        self._start = self._materialised()
        self._unfrozen = _unfreeze(lm, config.model.num_layers_unfrozen)
        self._policy: FrozenLM = self._unfrozen or lm
        torch.manual_seed(config.train.seed)
        self.value_head = ValueHead(lm.d_model).to(lm.device) if method.estimator == "gae" else None
        layers = self._unfrozen.trained if self._unfrozen else {}
        self._optimizer = make_optimizer(config, self.source, self.value_head, layers)
        self._schedule = make_schedule(self._optimizer, config)
        self._kl = make_kl_controller(method.init_kl_coef, method.target, method.horizon)
        self._scaling = RewardScaling(method, len(instructions))
        self.elites = EliteBuffer(len(instructions), max(method.replay_size, config.warm_start.elites))
        self.version = 0
        self._gradient, self._by_rewards, self._by_replay = (torch.zeros_like(self._start) for _ in range(3))

    @property
    def shares_parameters(self) -> bool:
        """Whether terrains share what is trained, so that one's prompt is of no use without the rest of its moment."""
        return self._unfrozen is not None or isinstance(self.source, TerrainEmbeddingNetwork)

    def prompt_state(self) -> PromptState:
        """What a worker needs to act as the policy is now."""
        return PromptState(self.version, self._materialised().cpu().numpy().copy(), self._layers())

    def snapshot(self) -> Snapshot:
        """The policy as it is now, and what a worker needs to explore with it."""
        state, known = self.prompt_state(), self._known(self.version)
        acting = state
        if known is not None:
            acting = PromptState(self.version, self._materialised(known).cpu().numpy().copy(), state.layers)
        ten = isinstance(self.source, TerrainEmbeddingNetwork)
        tensors = self.source.state_dict().items() if ten else ()
        return Snapshot(state, acting, {name: t.detach().cpu().numpy().copy() for name, t in tensors} or None)

    def warm_start(self) -> Iterator[float]:
        """Learns each terrain's best programs by likelihood; yields the nats a token after each step."""
        warm = self.config.warm_start
        if warm.init_from_elite:
            self._be_born_from_elites()
        yield from self._imitate(warm.elites, warm.steps)
        self.version += 1

    def imitate_best(self) -> Iterator[float]:
        """Learns each terrain's best program of the whole run by likelihood; yields the nats a token after each step.

        The learning rate falls to zero: what counts is the end, and no rollouts follow that would even it out.
        """
        yield from self._imitate(1, self.config.method.closing_steps, falls=True)
        self.version += 1

    @torch.no_grad()
    def _be_born_from_elites(self) -> None:
        """Lets the rows of each prompt be the tokens of its terrain's best program, where there is one."""
        for terrain, rows in enumerate(self.source.rows):
            for elite in self.elites.best(terrain)[:1]:
                rows.copy_(text_rows(self.lm.embedding, list(elite.ids), len(rows)))

    def _imitate(self, best: int, steps: int, falls: bool = False) -> Iterator[float]:
        """Makes steps of likelihood on the best programs of each terrain; yields the nats a token after each.

        Only the prompts learn here: unfrozen layers of the language model stay as they are.
        """
        batch = self.elites.batch(best=best)
        if len(batch.ids) == 0:
            return
        optimizer = make_imitator(self.config, self.source)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0 if falls else 1.0, max(1, steps))
        for step in range(steps):
            self._zero_gradients()
            loss = self._imitation(batch, self._known(self.version, step))
            loss.backward()
            self._by_replay.copy_(self._gradient)
            self._make_step(optimizer, schedule, loss.item())
            yield loss.item()
        check_parameters(_trained(optimizer))

    def update(self, rollouts: Sequence[Rollouts]) -> PolicyStats:
        """Makes one PPO step from rollouts: ppo_epochs passes, each in batches of their own order.

        Args:
            rollouts: of this step, scored each on its own terrain.

        Returns:
            Statistics under trlx's names, and each terrain's drift and gradient norm under its index.

        Raises:
            NotFiniteError: a loss, a gradient or what the optimizer made of it is not finite; a learner that has
                raised this is of no use any more.
        """
        method, train = self.config.method, self.config.train
        stats: list[PolicyStats] = []
        before, known = self._materialised(), self._known(rollouts[0].version)
        batch, info = self._prepare(rollouts, known)
        generator = self._chance()
        for _ in range(method.ppo_epochs):
            order = torch.randperm(len(batch.ids), generator=generator)
            for rows in order.split(train.batch_size):
                stats.append(self._step(batch, rows, known))
            # As in trlx, whatever the number of steps of the optimizer in a pass.
            self._kl.update(info["policy/kl_per_program"], train.batch_size)
        imitation = list(self._imitate(method.replay_size, method.replay_steps))
        if imitation:
            info["losses/replay_steps_loss"] = imitation[-1]
        self.version += 1
        mean = {key: float(np.mean([s[key] for s in stats])) for key in stats[0]}
        return mean | info | self._watch(before)

    def candidates(self) -> list[PromptState]:
        """Perturbed prompts to be compared by their programs: those with something added, then those without it."""
        prompts, added = self._materialised(), self._perturbations()
        both = torch.cat([prompts + added, prompts - added]).cpu().numpy()
        return [PromptState(self.version, each) for each in both]

    def evolve(self, results: Sequence[Sequence[Rollouts]]) -> PolicyStats:
        """Makes one step of evolution strategies.

        Args:
            results: rollouts behind each of `candidates`, in their order.

        Returns:
            Statistics, as `update` returns them.
        """
        every = [r for each in results for r in each]
        scores = torch.tensor([[mean_reward(each, k) for k in range(len(self.instructions))] for each in results])
        plus, minus = scores.chunk(2)
        before = self._materialised()
        self._zero_gradients()
        self._gradient += evolution_gradient(self._perturbations(), plus, minus)
        self._by_rewards.copy_(self._gradient)
        self.source.rows.grad = self._gradient.clone()
        self._make_step(self._optimizer, self._schedule, 0.0)
        rewards = np.concatenate([r.rewards[:, 0] for r in every])
        info = {"reward/mean": float(rewards.mean()), "rollout_scores/std": float(rewards.std())}
        info |= {f"reward_std/{k}": reward_std(own) for k, own in enumerate(scores.T)}
        imitation = list(self._imitate(self.config.method.replay_size, self.config.method.replay_steps))
        if imitation:
            info["losses/replay_steps_loss"] = imitation[-1]
        self.version += 1
        return info | self._watch(before)

    def _perturbations(self) -> Tensor:
        """What this version's candidates differ by, shape (pairs, n_terrains, n_soft_tokens, d)."""
        method = self.config.method
        return perturbations(self._materialised(), method.es_pairs, method.es_noise, self._chance())

    def _chance(self) -> torch.Generator:
        """All chance of this version's update, whatever the size of the run's seed."""
        return torch.Generator().manual_seed((self.config.train.seed * 1_000_003 + self.version) % 2**64)

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
        """Everything from which `load_state_dict` continues bit for bit; nothing that is trained on changes it."""
        state = {
            "prompts": self._materialised(),
            "start": self._start,
            "source": dict(self.source.state_dict()),
            "layers": dict(self._unfrozen.trained) if self._unfrozen else None,
            "value_head": self.value_head.state_dict() if self.value_head else None,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "kl": self._kl.state_dict(),
            "moments": self._scaling.state_dict(),
            "elites": self.elites.state_dict(),
            "version": self.version,
        }
        return copied(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another learner of the same configuration was.

        Raises:
            ValueError: the prompts have another shape, or come from elsewhere.
        """
        if state["prompts"].shape != self._start.shape:
            raise ValueError(
                f"prompts of shape {tuple(state['prompts'].shape)} do not fit {tuple(self._start.shape)}: "
                "the checkpoint is of a run with other terrains, another n_soft_tokens or another language model"
            )
        if (state["layers"] is None) != (self._unfrozen is None):
            raise ValueError("the checkpoint is of a run with another model.num_layers_unfrozen")
        try:
            self.source.load_state_dict(state["source"])
        except RuntimeError:
            raise ValueError(
                "the checkpoint is of a run with another method.prompt_source, method.reparameterize or ten"
            ) from None
        if self._unfrozen:
            self._unfrozen.load_weights(state["layers"])
        self._start = state["start"].to(self._start)
        if self.value_head:
            self.value_head.load_state_dict(state["value_head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._kl.load_state_dict(state["kl"])
        self._scaling.load_state_dict(state["moments"])
        self.elites.load_state_dict(state["elites"])
        self.version = state["version"]

    def _materialised(self, known: Tensor | None = None) -> Tensor:
        """A copy of the prompts as they are now, shape (n_terrains, n_soft_tokens, d)."""
        with torch.no_grad():
            return self.source.prompts(known).clone()

    def _layers(self) -> LayerWeights | None:
        return LayerWeights.of(self._unfrozen.weights()) if self._unfrozen else None

    def _known(self, version: int, step: int = 0) -> Tensor | None:
        """Which terrains a network is told by their id; the same for acting and for learning from what was written."""
        ten = self.config.ten
        if not (isinstance(self.source, TerrainEmbeddingNetwork) and ten.terrain_id and ten.id_dropout):
            return None
        place = (self.config.train.seed, version, step, DROPOUT)
        drawn = np.random.default_rng(np.random.SeedSequence(place)).random(len(self.instructions))
        return torch.from_numpy(drawn >= ten.id_dropout).to(self.lm.device)

    def _zero_gradients(self) -> None:
        self._optimizer.zero_grad()
        self._gradient.zero_()

    def _prompts(self, known: Tensor | None) -> Tensor:
        """All prompts, differentiable; what they are told to change is noted, whatever they come from."""
        prompts = self.source.prompts(known)
        seen = prompts.view_as(prompts)  # a hook on a parameter itself would stay there
        if seen.requires_grad:
            seen.register_hook(self._note_gradient)
        return seen

    def _note_gradient(self, gradient: Tensor) -> None:
        self._gradient += gradient

    def _evaluate(
        self, ids: Tensor, mask: Tensor, terrain: Tensor, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The policy's log-probabilities (b, l), and the critic's values (zeros without one)."""
        prompts, critic = self._prompts(known), self.value_head
        instructions = [self.instructions[k] for k in terrain.tolist()]
        logprobs, hidden = evaluate(self._policy, prompts, instructions, ids, mask, critic is not None, terrain)
        return logprobs, torch.zeros_like(logprobs) if critic is None or hidden is None else critic(hidden.detach())

    def _reference(self, ids: Tensor, mask: Tensor, terrain: Tensor) -> Tensor:
        """Log-probabilities (b, l) of the language model as it came, without a prompt."""
        return evaluate(self.lm, None, [self.instructions[k] for k in terrain.tolist()], ids, mask)[0]

    @torch.no_grad()
    def _prepare(self, rollouts: Sequence[Rollouts], known: Tensor | None = None) -> tuple[Batch, PolicyStats]:
        """Joins the rollouts and works out references, rewards and advantages."""
        method = self.config.method
        ids, mask, logprobs = (join([getattr(r, name) for r in rollouts]) for name in ("ids", "mask", "logprobs"))
        ids, mask, logprobs = (t.to(self.lm.device) for t in (ids, mask, logprobs))
        terrain = torch.from_numpy(np.concatenate([r.terrain for r in rollouts])).to(self.lm.device)
        rewards = torch.from_numpy(np.concatenate([r.rewards[:, 0] for r in rollouts])).float().to(self.lm.device)
        valid = torch.tensor([row[0] is None for r in rollouts for row in r.failures], device=self.lm.device)
        ref_logprobs = self._reference(ids, mask, terrain)
        values = self._evaluate(ids, mask, terrain, known)[1] if self.value_head else torch.zeros_like(logprobs)
        scores = self._scaling(rewards, terrain)
        price = self._kl.value if method.kl_in == "reward" else 0.0
        paid = token_rewards(scores, logprobs, ref_logprobs, mask, price)
        advantages, returns = estimate(method, paid, values, mask, terrain, valid)
        info = {
            "kl_ctl_value": self._kl.value,
            "policy/kl_per_token": masked_mean(k1(logprobs, ref_logprobs), mask).item(),
            "policy/kl_per_program": (k1(logprobs, ref_logprobs) * mask).sum(1).mean().item(),
            "policy/sqrt_kl": masked_mean(k3(ref_logprobs, logprobs), mask).clamp(min=0).sqrt().item(),
            "rollout_scores/mean": rewards.mean().item(),
            "rollout_scores/std": rewards.std(correction=0).item(),
            "rollout_scores/running_mean": self._scaling.moments.mean,
            "rollout_scores/running_std": self._scaling.moments.std,
            "reward/mean": rewards.mean().item(),
            **{f"reward_std/{k}": reward_std(rewards[terrain == k]) for k in range(len(self.instructions))},
        }
        return Batch(ids, mask, terrain, logprobs, ref_logprobs, advantages, values, returns), info

    def _step(self, batch: Batch, rows: Tensor, known: Tensor | None) -> PolicyStats:
        """One step of the optimizer on some programs, their gradients added up over minibatches."""
        method, size = self.config.method, self.config.train.minibatch_size or len(rows)
        self._zero_gradients()
        totals: PolicyStats = {}
        parts = rows.split(size)
        for part in parts:
            share = len(part) / len(rows)
            loss, stats = self._loss(batch.rows(part), known)
            (loss * share).backward()
            totals = {key: totals.get(key, 0.0) + share * value for key, value in stats.items()}
        self._by_rewards.copy_(self._gradient)
        if method.replay_weight > 0 and len(self.elites):
            imitation = self._imitation(self.elites.batch(best=method.replay_size), known)
            (method.replay_weight * imitation).backward()
            self._by_replay.copy_(self._gradient - self._by_rewards)
            totals["losses/replay_loss"] = imitation.item()
        self._make_step(self._optimizer, self._schedule, totals["losses/total_loss"])
        return totals

    def _make_step(self, optimizer: Optimizer, schedule: LRScheduler, loss: float) -> None:
        """Moves what is trained by its gradients, once it is seen that they are numbers."""
        check_step(loss, _trained(optimizer), self._gradient)
        optimizer.step()
        schedule.step()

    def _loss(self, batch: Batch, known: Tensor | None) -> tuple[Tensor, PolicyStats]:
        method = self.config.method
        logprobs, values = self._evaluate(batch.ids, batch.mask, batch.terrain, known)
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

    def _imitation(self, batch: Any, known: Tensor | None = None) -> Tensor:
        """Nats a token of elites behind their terrain's prompt."""
        ids, mask, terrain = (t.to(self.lm.device) for t in (batch.ids, batch.mask, batch.terrain))
        return likelihood_loss(self._evaluate(ids, mask, terrain, known)[0], mask)

    def _watch(self, before: Tensor) -> PolicyStats:
        """Of each terrain's prompt: drift, how far this update has moved it, and the norms of its last gradients.

        ``grad_norm`` is of what the rewards asked for, ``replay_grad_norm`` of what the replayed programs did.
        """
        check_parameters(_trained(self._optimizer))
        prompts = self._materialised()
        watched = {"grad_norm": self._by_rewards.flatten(1).norm(dim=1), "moved": relative_step(prompts, before)}
        if len(self.elites) and (self.config.method.replay_weight or self.config.method.replay_steps):
            watched["replay_grad_norm"] = self._by_replay.flatten(1).norm(dim=1)
        if self.config.method.measure_soft_embedding_drift:
            watched["drift"] = prompt_drift(prompts, self._start)
        stats = {f"{name}/{k}": float(v) for name, values in watched.items() for k, v in enumerate(values)}
        groups = enumerate(self._optimizer.param_groups)
        return stats | {f"learning_rate_group_{k}": float(group["lr"]) for k, group in groups}


def _trained(optimizer: Optimizer) -> list[Tensor]:
    """What an optimizer moves."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _unfreeze(lm: FrozenLM, n_layers: int) -> UnfrozenLM | None:
    """The policy's language model where layers of it are trained."""
    if n_layers == 0:
        return None
    try:
        return UnfrozenLM(lm, top_layers(lm.model, n_layers))
    except ValueError as error:
        raise UserError(f"model.num_layers_unfrozen: {error}") from None
