"""The optimizers of a run, and the schedule of their learning rates."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distributed.config import RunConfig
from distributed.config.trlx_sections import OPTIMIZER_SETTINGS, SCHEDULER_SETTINGS
from softprompt.finite import check_step
from softprompt.prompts.table import PromptSource
from softprompt.rl.value_head import ValueHead

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULES = {
    "constant": torch.optim.lr_scheduler.ConstantLR,
    "cosine_annealing": torch.optim.lr_scheduler.CosineAnnealingLR,
    "linear": torch.optim.lr_scheduler.LinearLR,
}

MOST_FOR_LAYERS = 1e-4
"""The highest learning rate of unfrozen layers without one of their own: that of prompts is far too high for them."""

Named = list[tuple[str, nn.Parameter]]


def make_optimizer(
    config: RunConfig, source: PromptSource, value_head: ValueHead | None, layers: Mapping[str, nn.Parameter]
) -> torch.optim.Optimizer:
    """Returns the optimizer of PPO's steps. Its groups hold the names of their parameters.

    Args:
        config: settings of the run.
        source: where the prompts come from.
        value_head: the critic, or None.
        layers: unfrozen parameters of the language model, by name.
    """
    method, lr = config.method, config.optimizer.kwargs.lr
    rows, network = _parts(source)
    head: Named = [(f"value_head.{name}", p) for name, p in value_head.named_parameters()] if value_head else []
    unfrozen: Named = [(f"layers.{name}", p) for name, p in layers.items()]
    first = rows if method.value_lr else rows + head
    groups: list[dict[str, Any]] = [
        {"params": first},
        {"params": network, "lr": method.network_lr},
        {"params": head if method.value_lr else [], "lr": method.value_lr or lr},
        {"params": unfrozen, "lr": method.unfrozen_lr or min(lr, MOST_FOR_LAYERS)},
    ]
    given = [group for group in groups if group["params"]]
    return OPTIMIZERS[config.optimizer.name](given, **config.optimizer.arguments)


def optimizer_arguments(config: RunConfig) -> dict[str, Any]:
    """Returns the optimizer's arguments that a configuration can set, with torch's defaults for those that are not."""
    parameters = inspect.signature(OPTIMIZERS[config.optimizer.name]).parameters
    defaults = {name: parameters[name].default for name in OPTIMIZER_SETTINGS[config.optimizer.name]}
    return defaults | config.optimizer.arguments


def make_imitator(config: RunConfig, source: PromptSource) -> torch.optim.Optimizer:
    """Returns an optimizer for steps of likelihood, with moments of its own: PPO's are of other gradients."""
    rows, network = _parts(source)
    groups: list[dict[str, Any]] = [{"params": [p for _, p in rows]}]
    if network:
        groups.append({"params": [p for _, p in network], "lr": config.method.network_lr})
    return torch.optim.Adam(groups, lr=config.warm_start.lr)


def make_schedule(optimizer: torch.optim.Optimizer, config: RunConfig) -> torch.optim.lr_scheduler.LRScheduler:
    """Returns the schedule of the learning rates over the optimizer steps of a whole run."""
    return SCHEDULES[config.scheduler.name](optimizer, **schedule_arguments(config))


def schedule_arguments(config: RunConfig) -> dict[str, Any]:
    """Returns the arguments of a schedule over a whole run, with torch's defaults for those that are not set."""
    name, steps = config.scheduler.name, config.train.total_steps * optimizer_steps(config)
    if name == "constant":
        return {"factor": 1.0}
    parameters = inspect.signature(SCHEDULES[name]).parameters
    defaults = {each: parameters[each].default for each in SCHEDULER_SETTINGS[name]}
    return defaults | {"T_max" if name == "cosine_annealing" else "total_iters": steps} | config.scheduler.arguments


def optimizer_steps(config: RunConfig) -> int:
    """Returns how many steps of the optimizer, and so of its schedule, one step of a run makes."""
    batches = -(-config.method.num_rollouts // config.train.batch_size)
    return 1 if config.method.estimator == "es" else config.method.ppo_epochs * batches


def scheduled(config: RunConfig, rates: Sequence[float], steps: int) -> tuple[list[float], dict[str, Any]]:
    """Returns the learning rates and the state of a schedule after some steps of the optimizer.

    Args:
        config: settings of the run.
        rates: the learning rate of each group of parameters before the schedule has touched it.
        steps: of the optimizer.

    Returns:
        The learning rate of each group, and the state of the schedule.
    """
    groups = [{"params": [nn.Parameter(torch.zeros(()))], "lr": rate} for rate in rates]
    optimizer = torch.optim.SGD(groups)
    schedule = make_schedule(optimizer, config)
    for _ in range(steps):
        optimizer.step()  # changes nothing, as there are no gradients; without it torch warns
        schedule.step()
    return [group["lr"] for group in optimizer.param_groups], schedule.state_dict()


def make_step(
    optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, loss: float, gradient: Tensor
) -> None:
    """Moves what is trained by its gradients, after a check of all numbers.

    Args:
        optimizer: what moves it.
        schedule: of its learning rates.
        loss: whose gradients they are.
        gradient: of the prompts, shape (n_terrains, n_soft_tokens, d), which tells terrains apart.

    Raises:
        NotFiniteError: the loss or a gradient is NaN or infinite.
    """
    check_step(loss, trained(optimizer), gradient)
    optimizer.step()
    schedule.step()


def trained(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Returns the parameters that an optimizer moves."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _parts(source: PromptSource) -> tuple[Named, Named]:
    """The rows of prompts, and the network they come from or through."""
    named = [(f"source.{name}", p) for name, p in source.named_parameters()]
    return [each for each in named if each[1] is source.rows], [each for each in named if each[1] is not source.rows]
