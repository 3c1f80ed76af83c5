"""The main job with trlx in the place of the learner: trlx makes all PPO steps, everything around them is as ever."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distributed.errors import UserError
from distributed.learner.snapshot import Snapshot
from distributed.rollout.instructions import instruction_ids
from distributed.rollout.pool import world_failed
from distributed.rollout.scoring import checked
from distributed.rollout.types import PromptState
from distributed.training import metrics
from distributed.training.loop import TrainingLoop
from distributed.training.requests import equal_groups
from distributed.training.trlx_settings import optimizer_steps, readable_by_trlx, trlx_settings
from softprompt.trlx.compat import TrlxMissingError
from softprompt.trlx.registration import register
from terrains.base import Attempt, Score, World
from terrains.checks import checked_scores
from terrains.errors import WorldError
from terrains.optional import Tokenizing


def check_installed() -> None:
    """Checks that trlx is there, and repairs it.

    Raises:
        UserError: it is not; the message says how to install it.
    """
    try:
        register()
    except TrlxMissingError as error:
        raise UserError(f"--backend trlx: {error}") from None


class TrlxLoop(TrainingLoop):
    """A training loop whose steps trlx makes, in this process; a world scores its programs.

    There is no warm start and no replay, and a checkpoint is before or behind all steps, never between two.

    Args:
        world: scores programs.
        *arguments: as for `TrainingLoop`.
    """

    def __init__(self, world: World, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._world = world
        self._scores: list[tuple[str, Score]] = []
        self._stats: dict[str, Any] = {}
        self._entry: dict[str, Any] | None = None

    def _warm_start(self) -> None:
        """Does nothing: trlx starts from the rows that prompts are drawn as."""

    def _close(self) -> None:
        """Does nothing: nothing was kept that could be learnt."""

    def _step(self) -> None:
        """Lets trlx make all the steps of the run."""
        import trlx
        from trlx.data.configs import TRLConfig

        config = self.config
        trlx.logging.set_verbosity(trlx.logging.ERROR)
        trlx.logging.disable_progress_bar()
        with tempfile.TemporaryDirectory() as folder:
            settings = trlx_settings(
                readable_by_trlx(config, self.learner.lm, Path(folder) / "lm"),
                max(len(each) for each in self.learner.instructions),
                Path(folder),
                # A conversation's turn ends with a token that the model's own configuration need not name.
                ends=self.learner.lm.eos_ids if self.learner.lm.chat else None,
                terrains=self.terrains,
                n_soft_tokens=config.method.n_soft_tokens,
                first=self.learner.source.rows.detach(),
                value_lr=config.method.value_lr,
                observer=self,
                evaluates=False,
            )
            trainer = trlx.train(
                reward_fn=self._rewards,
                prompts=self._prompts(),
                config=TRLConfig.from_dict(settings),
                stop_sequences=[],
            )
        self.before_rollouts()
        assert trainer.iter_count == optimizer_steps(config)
        with torch.no_grad():
            self.learner.source.rows.copy_(trainer.prompts)

    def before_rollouts(self) -> None:
        """Records the step whose updates are over; see `softprompt.trlx.observer.Observer`."""
        if self._entry is not None:
            self.step += 1
            numbers = {k: float(torch.as_tensor(v).detach()) for k, v in self._stats.items() if not isinstance(v, str)}
            self._record(self._entry | {name: value for name, value in numbers.items() if np.isfinite(value)})
        self._entry, self._stats = None, {}

    def after_rollouts(self, prompts: Tensor) -> None:
        """Notes what the programs of a step were worth; see `softprompt.trlx.observer.Observer`."""
        own = [[score for name, score in self._scores if name == terrain] for terrain in self.terrains]
        fitness = [np.array([score.fitness for score in scores]) for scores in own]
        state = PromptState(self.step, prompts.cpu().numpy().copy())
        self._best.note(Snapshot(state, state), [each.mean() for each in fitness])
        rewards = [score.reward for _, score in self._scores]
        named = zip(self.terrains, own, strict=True)
        valid = {f"valid/{name}": float(np.mean([score.valid for score in scores])) for name, scores in named}
        self.rollouts += len(self._scores)
        found = metrics.fitness_metrics(self.terrains, fitness)
        self._entry = {"phase": "steps", **found, **valid, "reward/mean": float(np.mean(rewards))}
        self._scores = []

    def log(self, stats: Mapping[str, Any]) -> None:
        """Keeps trlx's own numbers, under its names; see `softprompt.trlx.observer.Observer`."""
        self._stats |= stats

    def _prompts(self) -> list[dict[str, Any]]:
        """Every program's prompt, step after step; a terrain's instructions take turns, in an order of the seed."""
        chance = np.random.default_rng(self.config.train.seed)
        lm, shares = self.learner.lm, equal_groups(self.config.method.num_rollouts, len(self.terrains))
        turns, steps = [], 1
        for index, share in shares:
            terrain = self._world.terrain(self.terrains[index])
            order = chance.permutation(len(terrain.instructions)).tolist()
            known = [(k, terrain.instructions[k].text) for k in order]
            known_ids = [(k, text, list(instruction_ids(lm, text))) for k, text in known]
            turns.append((terrain.name, share, cycle(known_ids)))
            steps = max(steps, -(-len(order) // share))
        return [
            {"prompt": text, "input_ids": ids, "terrain": name, "instruction": k}
            for _ in range(steps)
            for name, share, instructions in turns
            for k, text, ids in (next(instructions) for _ in range(share))
        ]

    def _rewards(
        self, outputs: Sequence[str], tokenizer: Any, terrain: Sequence[str], instruction: Sequence[int], **_: Any
    ) -> list[float | list[float]]:
        """trlx's reward function: what the world says of each program."""
        if isinstance(self._world, Tokenizing):
            self._world.use_tokenizer(tokenizer)
        end = tokenizer.eos_token or ""
        attempts = [
            Attempt(
                name,
                self._world.terrain(name).instructions[k].text + (output.removesuffix(end) if end else output),
                k,
                tuple(tokenizer(output).input_ids),
            )
            for output, name, k in zip(outputs, terrain, instruction, strict=True)
        ]
        try:
            found = checked_scores(self._world.score(attempts), len(attempts), f"the world {self._world.name}")
        except WorldError as error:
            raise world_failed(error) from error
        scores = [checked(score, each) for score, each in zip(found, attempts, strict=True)]
        self._scores += [(attempt.terrain, score) for attempt, score in zip(attempts, scores, strict=True)]
        if not any(score.token_rewards for score in scores):
            return [score.reward for score in scores]
        # Where one program has a reward a token, trlx would give another's only reward to its first token.
        pairs = zip(scores, attempts, strict=True)
        return [list(score.token_rewards) or _at_the_end(score.reward, len(each.output_ids)) for score, each in pairs]


def _at_the_end(reward: float, n: int) -> list[float]:
    """A reward on the last of n tokens; trlx has one at least, that of the end."""
    return [*[0.0] * (n - 1), reward]
