"""What a member takes over from another whose settings differ from its own: surgery, distillation, the optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from distributed.config import RunConfig
from distributed.learner.learner import Learner
from distributed.learner.optimizers import optimizer_steps, scheduled
from distributed.learner.prompt_init import new_rows
from softprompt.distillation import Distilled, Donor, StoredPrograms, distill
from softprompt.surgery import Resized, resize, rows_to_keep

PROGRAMS_FOR_SURGERY = 3
"""Programs a terrain on which rows are judged; every row is tried on each of them."""

TABLE, HEAD = "source.weight", "value_head."
"""How the optimizer calls the table of prompts, and with what the names of the value head begin."""


@dataclass(frozen=True)
class Operation:
    """Prompts carried to another size.

    Attributes:
        resized: surgery by terrain.
        distilled: the prompts after distillation, and how far they were from the donor's.
    """

    resized: list[Resized]
    distilled: Distilled

    @property
    def prompts(self) -> Tensor:
        """The prompts behind surgery alone, shape (n_terrains, n_new, d)."""
        return torch.stack([each.prompt for each in self.resized])

    def carry(self, values: Tensor) -> Tensor:
        """Takes along what belongs to the rows, shape (n_terrains, n, ...): zeros for new rows."""
        return torch.stack([each.carry(own) for each, own in zip(self.resized, values, strict=True)])


def operate(learner: Learner, prompts: Tensor, programs: StoredPrograms, seed: int) -> Operation:
    """Carries a donor's prompts to the size of a learner's, and distils what they said.

    Args:
        learner: has the size, the language model and the settings.
        prompts: the donor's, shape (n_terrains, n, d).
        programs: what the donor wrote.
        seed: decides the rows that are born, and what each step of distillation sees.
    """
    config, lm = learner.config, learner.lm
    generator = torch.Generator().manual_seed(seed)
    prompts = prompts.to(lm.device)
    n, n_new = prompts.shape[1], config.method.n_soft_tokens
    resized = []
    for terrain, prompt in enumerate(prompts):
        born = kept = None
        if n_new > n:
            born = _born(learner, n_new - n, generator)
        elif n_new < n:
            ids, mask = programs.of_terrain(terrain, PROGRAMS_FOR_SURGERY)
            kept = rows_to_keep(lm, prompt, n_new, programs.instructions[terrain], ids, mask)
        resized.append(resize(prompt, n_new, born, kept))
    donor = Donor(lm, prompts, programs)
    start = torch.stack([each.prompt for each in resized])
    search = config.search
    return Operation(resized, distill(donor, start, search.distill_steps, generator, search.distill_lr))


def inherit(state: Mapping[str, Any], donor: RunConfig, heir: Learner, operation: Operation | None) -> dict[str, Any]:
    """Returns the state of a donor's learner as its heir can load it, the heir's settings being what they are.

    Elites, running moments and the optimizer's moments are the donor's. Learning rates are those that the heir's own
    schedule has after as many steps of the run, however often the state was copied before; the KL coefficient is the
    heir's too. A value head passes on where both have one.

    Args:
        state: of the donor's learner.
        donor: settings of the donor.
        heir: a fresh learner with the heir's settings.
        operation: how the prompts were carried, where the sizes differ.
    """
    fresh = heir.state_dict()
    same_head = bool(state["value_head"]) and bool(fresh["value_head"])
    prompts = state["prompts"] if operation is None else operation.distilled.prompts.cpu()
    place = state["schedule"]["last_epoch"] // optimizer_steps(donor) * optimizer_steps(heir.config)
    first = [group["initial_lr"] for group in fresh["optimizer"]["param_groups"]]
    rates, schedule = scheduled(heir.config, first, place)
    return {
        "prompts": prompts,
        "source": state["source"] if operation is None else {"weight": prompts},
        "layers": state["layers"],
        "start": state["start"] if operation is None else _carried_start(state["start"], operation),
        "value_head": state["value_head"] if same_head else fresh["value_head"],
        "optimizer": _optimizer(state, donor, heir, operation, same_head, rates),
        "schedule": schedule,
        "kl": {"value": _kl(float(state["kl"]["value"]), donor, heir.config)},
        "moments": state["moments"],
        "elites": state["elites"],
        "version": state["version"],
    }


def _born(learner: Learner, n: int, generator: Generator) -> Tensor:
    """New rows (n, d) for one terrain, as initialize_from_vocab says."""
    return new_rows(learner.config, learner.lm, 1, n, generator)[0]


def _carried_start(start: Tensor, operation: Operation) -> Tensor:
    """Where the rows started, from which drift is measured: new ones where they were born."""
    carried = operation.carry(start).cpu()
    return torch.where((operation.carry(torch.ones_like(start)) == 0).cpu(), operation.prompts.cpu(), carried)


def _optimizer(
    state: Mapping[str, Any],
    donor: RunConfig,
    heir: Learner,
    operation: Operation | None,
    same_head: bool,
    rates: Sequence[float],
) -> dict[str, Any]:
    """The heir's settings with the donor's moments, and the learning rates of each group."""
    theirs, ours = state["optimizer"], heir.state_dict()["optimizer"]
    groups = [{**group, "lr": rate} for group, rate in zip(ours["param_groups"], rates, strict=True)]
    if donor.optimizer.name != heir.config.optimizer.name:
        return {"state": {}, "param_groups": groups}
    shape, places, moments = state["prompts"].shape, _places(ours), {}
    for name, index in _places(theirs).items():
        entry = theirs["state"].get(index)
        if entry is None or name not in places or (name.startswith(HEAD) and not same_head):
            continue
        moments[places[name]] = {
            key: operation.carry(value) if name == TABLE and operation and _shape(value) == shape else value
            for key, value in entry.items()
        }
    return {"state": moments, "param_groups": groups}


def _places(optimizer: Mapping[str, Any]) -> dict[str, int]:
    """The number by which an optimizer's state knows each parameter, by the parameter's name."""
    groups = optimizer["param_groups"]
    return {n: i for group in groups for n, i in zip(group["param_names"], group["params"], strict=True)}


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)


def _kl(value: float, donor: RunConfig, heir: RunConfig) -> float:
    """The KL coefficient: as much above or below the heir's first one as the donor's was against its own.

    An heir that does not adapt it has its first one, whatever the donor's has become.
    """
    if heir.method.target is None:
        return heir.method.init_kl_coef
    before, now = donor.method.init_kl_coef, heir.method.init_kl_coef
    return value * now / before if before > 0 else now
