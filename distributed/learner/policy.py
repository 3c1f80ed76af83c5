"""The policy: the prompts, what else of the model is trained, and log-probabilities under both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distributed.config import RunConfig
from distributed.errors import UserError
from distributed.learner.prompt_init import make_source
from distributed.learner.snapshot import Snapshot
from distributed.rollout.instructions import Tokens
from distributed.rollout.types import LayerWeights, PromptState
from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import UnfrozenLM, top_layers
from softprompt.prompts.ten import TerrainEmbeddingNetwork
from softprompt.rl.value_head import ValueHead
from terrains.base import Terrain
from terrains.niches import Niches

DROPOUT = 11
"""A constant in the seeds that draw from which terrains a network hides their id."""


class Policy:
    """All that is trained, and the gradient that the prompts receive from whatever they come from.

    A network that prompts come from may have the ids of some terrains hidden from it while it explores and learns. The
    argument ``known`` of the methods says which it is told, shape (n_terrains,) bool; None for all.

    Args:
        config: settings of the run.
        lm: the frozen language model, which is the reference, and the policy's model where no layer is trained.
        instructions: token ids of each terrain's instructions, all of them.
        terrains: the terrains themselves, for prompts that come from their features or from another run.
        niches: the world's grid, for several prompts of a terrain that come from where their kinds lie.

    Attributes:
        lm: the reference.
        model: the language model that acts.
        source: where the prompts come from.
        layers: the language model with trained layers, or None.
        value_head: the critic, or None.
        gradient: sum of the prompts' gradients since `zero_gradients`, shape (n_prompts, n_soft_tokens, d).

    Raises:
        UserError: the settings ask for what this language model or these terrains do not have.
    """

    def __init__(
        self,
        config: RunConfig,
        lm: FrozenLM,
        instructions: Sequence[Sequence[Tokens]],
        terrains: Sequence[Terrain],
        niches: Niches | None = None,
    ) -> None:
        self._config, self.lm, self._instructions = config, lm, instructions
        self._per_terrain = config.method.prompts_per_terrain
        self.source = make_source(config, lm, len(instructions) * self._per_terrain, terrains, niches)
        self.gradient = torch.zeros_like(self.materialised())
        self.layers = _unfreeze(lm, config.model.num_layers_unfrozen)
        self.model: FrozenLM = self.layers or lm
        torch.manual_seed(config.train.seed)
        self.value_head = ValueHead(lm.d_model).to(lm.device) if config.method.estimator == "gae" else None

    @property
    def shares_parameters(self) -> bool:
        """Whether terrains share what is trained, so that one's prompt is of no use without the other parameters."""
        return self.layers is not None or isinstance(self.source, TerrainEmbeddingNetwork)

    def materialised(self, known: Tensor | None = None) -> Tensor:
        """A copy of the prompts as they are now, shape (n_prompts, n_soft_tokens, d)."""
        with torch.no_grad():
            return self.source.prompts(known).clone()

    def known(self, version: int, step: int = 0) -> Tensor | None:
        """Which terrains a network is told by their id: the same for acting and for learning from the answers.

        Args:
            version: updates made before the programs were written.
            step: number of the step within an update that writes no programs.
        """
        ten = self._config.ten
        if not (isinstance(self.source, TerrainEmbeddingNetwork) and ten.terrain_id and ten.id_dropout):
            return None
        place = (self._config.train.seed, version, step, DROPOUT)
        drawn = np.random.default_rng(np.random.SeedSequence(place)).random(len(self._instructions))
        return torch.from_numpy(drawn >= ten.id_dropout).to(self.lm.device)

    def generator(self, version: int) -> torch.Generator:
        """The source of all random numbers of one update; the run's seed may be of any size."""
        return torch.Generator().manual_seed((self._config.train.seed * 1_000_003 + version) % 2**64)

    def state(self, version: int) -> PromptState:
        """What a worker needs to act as the policy is now."""
        layers = LayerWeights.of(self.layers.weights()) if self.layers else None
        return PromptState(version, self.materialised().cpu().numpy().copy(), layers)

    def snapshot(self, version: int) -> Snapshot:
        """The policy as it is now, and what a worker needs to explore with it."""
        state, known = self.state(version), self.known(version)
        acting = state
        if known is not None:
            acting = PromptState(version, self.materialised(known).cpu().numpy().copy(), state.layers)
        ten = isinstance(self.source, TerrainEmbeddingNetwork)
        tensors = self.source.state_dict().items() if ten else ()
        return Snapshot(state, acting, {name: t.detach().cpu().numpy().copy() for name, t in tensors} or None)

    def prompts(self, known: Tensor | None = None) -> Tensor:
        """All prompts, differentiable; what `backward` gives them is added to `gradient`."""
        prompts = self.source.prompts(known)
        seen = prompts.view_as(prompts)  # a hook on a parameter itself would stay there
        if seen.requires_grad:
            seen.register_hook(self._add_gradient)
        return seen

    def evaluate(
        self,
        ids: Tensor,
        mask: Tensor,
        prompt: Tensor,
        known: Tensor | None = None,
        instruction: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The policy's log-probabilities (b, l), and the critic's values (zeros without one).

        Args:
            ids: tokens of programs, right-padded, shape (b, l).
            mask: which of them are real, shape (b, l) bool.
            prompt: index of the prompt each stands behind, shape (b,).
            known: of which terrains a network is told the id; see `Policy`.
            instruction: which of its terrain's instructions each stands behind, shape (b,); None for the first.
        """
        prompts, critic = self.prompts(known), self.value_head
        before = self._before(prompt, instruction)
        logprobs, hidden = evaluate(self.model, prompts, before, ids, mask, critic is not None, prompt)
        return logprobs, torch.zeros_like(logprobs) if critic is None or hidden is None else critic(hidden.detach())

    def reference(self, ids: Tensor, mask: Tensor, prompt: Tensor, instruction: Tensor | None = None) -> Tensor:
        """Log-probabilities (b, l) of the frozen language model, without a prompt; arguments as for `evaluate`."""
        return evaluate(self.lm, None, self._before(prompt, instruction), ids, mask)[0]

    def _before(self, prompt: Tensor, instruction: Tensor | None) -> list[Tokens]:
        """The instruction of each row."""
        which = torch.zeros_like(prompt) if instruction is None else instruction
        terrain = prompt // self._per_terrain
        return [self._instructions[k][i] for k, i in zip(terrain.tolist(), which.tolist(), strict=True)]

    def zero_gradients(self) -> None:
        """Forgets the gradients of all that is trained."""
        trained = [parameter for _, parameter in self.source.named_parameters()]
        trained += self.layers.trained.values() if self.layers else ()
        trained += self.value_head.parameters() if self.value_head else ()
        for parameter in trained:
            parameter.grad = None
        self.gradient.zero_()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes; the tensors are the policy's own, not copies."""
        return {
            "prompts": self.materialised(),
            "source": dict(self.source.state_dict()),
            "layers": dict(self.layers.trained) if self.layers else None,
            "value_head": self.value_head.state_dict() if self.value_head else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Becomes what another policy of the same configuration was.

        Raises:
            ValueError: the prompts have another shape, or come from elsewhere, or other layers are trained.
        """
        if state["prompts"].shape != self.gradient.shape:
            raise ValueError(
                f"prompts of shape {tuple(state['prompts'].shape)} do not fit {tuple(self.gradient.shape)}: "
                "the checkpoint is of a run with other terrains, another n_soft_tokens or another language model"
            )
        if (state["layers"] is None) != (self.layers is None):
            raise ValueError("the checkpoint is of a run with another model.num_layers_unfrozen")
        try:
            self.source.load_state_dict(state["source"])
        except RuntimeError:
            raise ValueError(
                "the checkpoint is of a run with another method.prompt_source, method.reparameterize or ten"
            ) from None
        if self.layers:
            self.layers.load_weights(state["layers"])
        if self.value_head:
            self.value_head.load_state_dict(state["value_head"])

    def _add_gradient(self, gradient: Tensor) -> None:
        self.gradient += gradient


def _unfreeze(lm: FrozenLM, n_layers: int) -> UnfrozenLM | None:
    """The language model with its last layers trained, or None where none are."""
    if n_layers == 0:
        return None
    try:
        return UnfrozenLM(lm, top_layers(lm.model, n_layers))
    except ValueError as error:
        raise UserError(f"model.num_layers_unfrozen: {error}") from None
