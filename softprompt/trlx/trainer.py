"""trlx's PPO trainer for a soft prompt per terrain, and the pipeline that puts prompts before instructions.

Import it after `softprompt.trlx.compat.apply_repairs`; `softprompt.trlx.registration.register` does both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from trlx.pipeline.offline_pipeline import PromptPipeline
from trlx.trainer.accelerate_ppo_trainer import AcceleratePPOTrainer
from trlx.utils import get_optimizer_class

from softprompt.prompts.init import initial_prompts
from softprompt.trlx.observer import Observer
from softprompt.trlx.policy import PromptedPolicy

logger = logging.getLogger("terraprompt")


class TerrainSoftPromptTrainer(AcceleratePPOTrainer):
    """trlx's PPO, of which prompts and value head are trained, and the language model is not.

    Args:
        config: trlx's configuration.
        terrains: names, each of which has a prompt; prompts name theirs under ``terrain``.
        n_soft_tokens: rows of each prompt.
        first: what prompts start from, shape (n_terrains, n_soft_tokens, d_model); None draws rows of the vocabulary.
        value_lr: learning rate of the value head; None for the optimizer's.
        observer: hears of each step.
        evaluates: whether trlx's own evaluation is made, at the start and every ``eval_interval`` steps.
        **settings: what else trlx's trainer takes.
    """

    def __init__(
        self,
        config: Any,
        terrains: Sequence[str],
        n_soft_tokens: int = 20,
        first: Tensor | None = None,
        value_lr: float | None = None,
        observer: Observer | None = None,
        evaluates: bool = True,
        **settings: Any,
    ) -> None:
        self.terrains, self.n_soft_tokens = list(terrains), n_soft_tokens
        if config.model.num_layers_unfrozen > 0:
            logger.warning(
                "model.num_layers_unfrozen is %d and ignored: prompts are trained, and no layer of the language model",
                config.model.num_layers_unfrozen,
            )
        self._first, self._value_lr, self._observer, self._evaluates = first, value_lr, observer, evaluates
        super().__init__(config, **settings)
        if observer is not None:
            told = SimpleNamespace(name="observer", log=lambda stats, step=None, **_: observer.log(stats))
            self.accelerator.trackers.append(told)

    @property
    def policy(self) -> PromptedPolicy:
        """The model, without what accelerate puts around it."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def prompts(self) -> Tensor:
        """The prompts as they are now, shape (n_terrains, n_soft_tokens, d_model)."""
        return self.policy.table.rows.detach()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, which also says the ids of each terrain's prompt, as ``soft_ids``."""
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        if tokenizer.pad_token_id is None:  # trlx would name one that the model has no row for
            tokenizer.pad_token = tokenizer.eos_token
        # trlx tokenizes outputs anew, and a start token before each would be read as part of them.
        tokenizer.backend_tokenizer.post_processor = None
        start, n = self.model.vocab_size, self.n_soft_tokens
        ids = {name: list(range(start + i * n, start + (i + 1) * n)) for i, name in enumerate(self.terrains)}
        tokenizer.soft_ids = ids
        self._tokenizer = tokenizer

    def get_arch(self, config: Any) -> PromptedPolicy:
        """Loads the language model and puts the prompts into it."""
        path, settings = config.model.model_path, config.model.model_extra_configs
        policy = PromptedPolicy.from_pretrained(path, num_layers_unfrozen=-1, **settings)
        first = self._first
        if first is None:
            rows, chance = policy.base_model.get_input_embeddings(), torch.Generator().manual_seed(config.train.seed)
            embedding = rows(torch.arange(rows.weight.shape[0])).detach()
            first = initial_prompts(embedding, len(self.terrains), self.n_soft_tokens, chance)
        return policy.attach(first)

    def setup_model(self) -> PromptedPolicy:
        """Returns the policy; no layer of it is left to be frozen."""
        return self.get_arch(self.config)

    def setup_optimizer(self) -> Any:
        """Returns the optimizer of prompts and value head."""
        settings = self.config.optimizer.kwargs
        value: dict[str, Any] = {"params": list(self.model.v_head.parameters())}
        if self._value_lr is not None:
            value["lr"] = self._value_lr
        groups = [{"params": [self.model.table.rows]}, value]
        return get_optimizer_class(self.config.optimizer.name)(groups, **settings)

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Samples outputs as trlx does; texts to stop at need the tokenizer."""
        self.policy.outputs_from(input_ids.shape[1])
        drawing = self.generate_experience_kwargs or self.generate_kwargs
        own = {"tokenizer": self.tokenizer} if drawing.get("stop_strings") else {}
        return super().generate(input_ids, attention_mask, **own, **kwargs)

    def make_experience(self, num_rollouts: int = 1024, iter_count: int = 0) -> None:
        """Samples and scores programs as trlx does, with a divergence that is of the outputs alone."""
        if self._observer:
            self._observer.before_rollouts()
        with self.policy.divergence_of_outputs():
            super().make_experience(num_rollouts, iter_count)
        if self._observer:
            self._observer.after_rollouts(self.prompts)

    def evaluate(self) -> dict[str, Any]:
        """trlx's evaluation, unless it is made elsewhere."""
        return super().evaluate() if self._evaluates else {}

    def save_pretrained(self, directory: str | None = None, **_: Any) -> None:
        """Writes the prompts, by the names of their terrains, and the tokenizer: all else is as it was."""
        folder = Path(directory or Path(self.config.train.checkpoint_dir) / "hf_model")
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            rows = {name: rows.contiguous().cpu() for name, rows in zip(self.terrains, self.prompts, strict=True)}
            save_file(rows, folder / "prompts.safetensors")
            self.tokenizer.save_pretrained(folder)


class TerrainPromptPipeline(PromptPipeline):
    """Puts each terrain's prompt before its instructions.

    A prompt is a dict with ``prompt``, the instruction, and ``terrain``, whose name the reward function is told with
    all else that the dict has. ``input_ids`` in it are taken for the instruction's tokens. Prompts come in the order in
    which they were given, so that every step can have as many of each terrain.
    """

    def __init__(
        self, prompts: Sequence[Mapping[str, Any]], max_prompt_length: int, tokenizer: Any, **settings: Any
    ) -> None:
        own = [dict(prompt) for prompt in prompts]  # trlx takes "prompt" out of the dicts that it is given
        known = [prompt.pop("input_ids", None) for prompt in own]
        super().__init__(own, max_prompt_length, tokenizer, **settings)
        for prompt, ids in zip(self.prompts, known, strict=True):
            whole = [*tokenizer.soft_ids[prompt["terrain"]], *(prompt["input_ids"] if ids is None else ids)]
            prompt["input_ids"], prompt["attention_mask"] = whole, [1] * len(whole)

    def create_loader(self, batch_size: int, shuffle: bool = False, **settings: Any) -> Any:
        """Returns a loader that keeps the order, whatever is asked for."""
        return super().create_loader(batch_size, shuffle=False, **settings)
