"""A member as Tune's trial: what Tune calls, where its processes run, and its checkpoints."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.tune import PlacementGroupFactory, Trainable
from ray.tune.result import DONE

from distributed.checkpoint.manager import save_checkpoint
from distributed.config import RunConfig
from distributed.errors import UserError
from distributed.search.checkpoints import last_good
from distributed.search.member import Member, Population
from distributed.search.schedulers import rounds_until
from distributed.training.setup import make_pool
from softprompt.models.frozen import FrozenLM

INHERITED = "inherited"
"""Metric of a round that holds what happened when the member took over another's state, None otherwise."""

DAMAGED = "damaged_checkpoints"
"""Metric of a round that names the checkpoints which were passed over before it, with spaces between; else empty."""


class MemberTrial(Trainable):
    """A member as one of Tune's class Trainables, whose process and language model can be reused for another member.

    One iteration is one round. A checkpoint is this project's own: tensors and JSON, no pickle.
    """

    def setup(self, config: dict[str, Any], population: Population) -> None:  # type: ignore[override]
        """Builds what all members can use, then the member.

        Args:
            config: the member's settings.
            population: what Tune's ``with_parameters`` was given.
        """
        base = population.config
        torch.set_num_threads(max(1, math.floor(base.search.cpus_per_member)))
        lm = FrozenLM.rebuild(_fetched(population.model), "cuda" if base.search.gpus_per_member > 0 else "cpu")
        self._pool = make_pool(
            base,
            population.terrains,
            population.instructions,
            population.model if base.ray.enabled else _fetched(population.model),
            population.make_world,
        )
        common = {**vars(population), "untuned": _fetched(population.untuned)}
        self._member = Member(Population(**common), lm, self._pool)
        self._damaged: tuple[str, ...] = ()
        self._member.begin(member_number(self.trial_id), config)

    def step(self) -> dict[str, Any]:
        """Makes a round."""
        inherited = self._member.inherited
        metrics = self._member.round()
        self._member.inherited = None
        damaged, self._damaged = " ".join(self._damaged), ()
        own = {INHERITED: inherited, DAMAGED: damaged, "settings": self._member.settings, DONE: self._member.done}
        return {**metrics, **own}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes the member's state into a directory of Tune's."""
        save_checkpoint(checkpoint_dir, self._member.loop.step, self._member.state_dict())

    def restore(self, checkpoint_path: Any) -> None:
        """Restores as Tune does, but counts a missing checkpoint as damaged, and not as a failure of the member."""
        Path(checkpoint_path.checkpoint.path).mkdir(parents=True, exist_ok=True)
        super().restore(checkpoint_path)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Goes on from the state in a directory of Tune's, which may be another member's.

        A damaged one is replaced by the latest intact one beside it; without any, the member begins again.
        """
        found = last_good(Path(checkpoint))
        self._damaged += found.damaged
        if found.state is not None:
            self._member.load_state_dict(found.state)
        if found.damaged:
            self._iteration = rounds_until(self._member.loop.step, self._member.loop.config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Becomes another member, or this one with other settings."""
        self._member.begin(member_number(self.trial_id), new_config)
        return True

    def cleanup(self) -> None:
        """Ends the rollout workers."""
        self._pool.close()


def member_number(trial_id: str) -> int:
    """The number in Tune's name of a trial, such as 3 of ``a1b2c_00003``; 0 outside Tune."""
    found = re.search(r"_(\d+)$", trial_id)
    return int(found[1]) if found else 0


def bundles(config: RunConfig) -> list[dict[str, float]]:
    """What Ray has to set aside for one member: for its learner, and for each of its workers."""
    search, rollouts = config.search, config.rollouts
    learner = _resources(search.cpus_per_member, search.gpus_per_member)
    worker = _resources(rollouts.cpus_per_worker, rollouts.gpus_per_worker)
    return [learner, *([worker] * rollouts.workers if config.ray.enabled else [])]


def placement(config: RunConfig) -> PlacementGroupFactory:
    """What `bundles` returns, as the type that Tune takes."""
    return PlacementGroupFactory(bundles(config))


def members_that_fit(config: RunConfig, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many members have room at once, at most as many as there are.

    Args:
        config: settings of the search.
        nodes: what each node of the cluster has in all.

    Raises:
        UserError: not even one has room, so that the search would wait for ever.
    """
    wanted = bundles(config)
    free, fitting = [dict(node) for node in nodes], 0
    while fitting < config.search.members and _place(wanted, free):
        fitting += 1
    if not fitting:
        search, rollouts = config.search, config.rollouts
        cluster = "; ".join(_said(node) for node in nodes) or "nothing"
        workers = f" and {rollouts.workers} x {_said(wanted[1])} for its workers" if config.ray.enabled else ""
        settings = "search.cpus_per_member, rollouts.workers and rollouts.cpus_per_worker"
        if search.gpus_per_member or rollouts.gpus_per_worker:
            settings += ", search.gpus_per_member and rollouts.gpus_per_worker"
        raise UserError(
            f"no member can ever start: it asks for {_said(wanted[0])}{workers}, and the nodes of the cluster have "
            f"{cluster}; lower {settings}"
        )
    return fitting


def _resources(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def _place(wanted: Sequence[Mapping[str, float]], free: list[dict[str, float]]) -> bool:
    """Takes a member's resources from the nodes, the largest first; returns whether there was room for all."""
    trial = [dict(node) for node in free]
    for bundle in sorted(wanted, key=lambda each: sum(each.values()), reverse=True):
        node = next((n for n in trial if all(n.get(k, 0) + 1e-9 >= v for k, v in bundle.items())), None)
        if node is None:
            return False
        for name, amount in bundle.items():
            node[name] -= amount
    free[:] = trial
    return True


def _said(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if name in ("CPU", "GPU"))


def _fetched(value: Any) -> Any:
    """A value, or what a reference refers to."""
    return ray.get(value) if isinstance(value, ray.ObjectRef) else value
