"""The search from its beginning to its end: what members share, Tune, and the best member's own run."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from distributed.checkpoint.manager import CheckpointError, latest, load_checkpoint, save_checkpoint
from distributed.config import RunConfig
from distributed.config.load import with_settings
from distributed.config.worlds import make_world, to_keep, world_factory
from distributed.errors import UserError
from distributed.infra.locking import locked
from distributed.infra.ray_cluster import connect_ray
from distributed.infra.signals import as_sigint, exit_status, interruptible, say_last
from distributed.infra.writing import WriteError, whole_file, write_text
from distributed.jobs.finish import finish
from distributed.learner.learner import Learner
from distributed.learner.prompt_init import with_absolute_start
from distributed.observability.console import Display, make_console
from distributed.observability.mlflow_tracker import open_tracker
from distributed.observability.tracker import Tracker
from distributed.observability.untracked import UNTRACKED
from distributed.results.run_folder import read_config
from distributed.rollout.instructions import all_instruction_ids
from distributed.rollout.pool import RolloutError
from distributed.search.checkpoints import best_of
from distributed.search.family_tree import draw_family_tree
from distributed.search.lineage import FILE, Record
from distributed.search.member import Population, member_config
from distributed.search.objective import check_objective, standings
from distributed.search.space import check_positions, check_space, most_elites
from distributed.search.summary import BEST, TREE, TUNE, print_summary, summarise, write_summary
from distributed.search.trainable import MemberTrial, members_that_fit, placement
from distributed.search.tuner import make_tuner
from distributed.training.loop import TrainingLoop
from distributed.training.setup import (
    exported,
    load_lm,
    make_pool,
    new_directory,
    terrain_names,
    with_names,
)
from terrains.base import World
from terrains.optional import niches_of

logger = logging.getLogger("terraprompt")

UNTUNED = "untuned"
"""Folder, in that of the search, with the state behind the untuned samples, which all members start from."""


def run_search(config: RunConfig, resume: Path | None = None) -> int:
    """Searches, then evaluates and reports the best member as a run of its own.

    Args:
        config: settings of the search.
        resume: directory of an interrupted search to go on with, whose settings these are.

    Returns:
        The exit status: 0, 1 when every member failed, 130 or 143 when the search was interrupted.

    Raises:
        UserError: the space, a terrain, the language model or the resources asked for are not what they should be.
    """
    check_space(config)
    world = make_world(config, resume)
    try:
        return _Search(with_names(world, config), world, resume).run()
    finally:
        world.close()


def settings_of(directory: Path) -> RunConfig:
    """Settings of an interrupted search.

    Raises:
        UserError: there is no search, it has ended, or its settings are damaged.
    """
    if not (directory / "config.json").exists():
        raise UserError(f"--resume: there is no search in {str(directory)!r}")
    if (directory / "summary.json").exists():
        raise UserError(f"--resume: the search in {str(directory)!r} has ended")
    return read_config(directory / "config.json")


class _Search:
    """A search as this process makes it: from its beginning, or from where an interrupted one was."""

    def __init__(self, config: RunConfig, world: World, resume: Path | None) -> None:
        self._held = ExitStack()
        if resume:
            self._held.enter_context(locked(resume.resolve()))
        self.niches = niches_of(world)
        check_objective(config, self.niches)
        config = with_absolute_start(config)
        self.config, self.world, self.console = config, world, make_console()
        self.terrains = terrain_names(world, config)
        self.lm = load_lm(config)
        self.tasks = [world.terrain(t) for t in self.terrains]
        self.instructions = all_instruction_ids(self.lm, self.tasks)
        check_positions(config, self.lm, self.instructions)
        self._learner(config)  # raises now what would fail in every member
        connect_ray(config.ray)
        self.fitting = members_that_fit(config, [n["Resources"] for n in ray.nodes() if n["Alive"]])
        self.directory = resume.resolve() if resume else new_directory(config)
        if not resume:
            self._held.enter_context(locked(self.directory))
        self.kept = to_keep(config, world, resume)
        self._note(self.directory, config)
        self.factory = world_factory(config, world, resume)
        self.record = Record(self.directory / FILE)
        self.began = time.monotonic()

    def run(self) -> int:
        """See `run_search`."""
        self._say(
            f"search {self.directory} (seed {self.config.train.seed}): {self.config.search.algorithm}, "
            f"{self.config.search.members} members, {self.fitting} at a time"
        )
        status = 0
        with self._held, interruptible() as received:
            try:
                status = self._search(received)
            except (RolloutError, CheckpointError, WriteError) as error:
                raise UserError(f"{error}; {self._again()}") from error
            except BaseException:  # after a signal, exceptions come from what it interrupted
                if not received:
                    raise
            if received:
                say_last(f"interrupted; {self._again()}")
                return exit_status(received[0])
        return status

    def _search(self, received: list[int]) -> int:
        """Runs the members, then finishes the best of them; returns early when a signal came."""
        with self._tracker() as tracker:
            self.record.save()
            self._fit(self._population(), received)
            self.record = Record(self.directory / FILE)
            if received:
                tracker.close("KILLED")
                return 0
            best = self._best()
            if best is not None:
                self._finish(best, tracker)
                return 0
            tracker.close("FAILED")
            self._say(
                "every member failed; the last line of each error:"
                if self.record.errors
                else f"none of the {len(self.record.damaged)} checkpoints below {self.directory / TUNE} can be read"
            )
            for member, why in self.record.errors.items():
                self._say(f"  member {member}: {why}")
            return 1

    def _again(self) -> str:
        return f"continue with: terraprompt search --resume {shlex.quote(str(self.directory))}"

    def _population(self) -> Population:
        """What members share. The untuned samples are drawn here, once, and travel through the object store."""
        model = ray.put(exported(self.lm))
        untuned = ray.put(self._untuned())
        tasks = tuple(self.tasks)
        return Population(
            self.config,
            tuple(self.terrains),
            tuple(self.instructions),
            self.factory,
            model,
            untuned,
            tasks,
            self.niches,
        )

    def _untuned(self) -> dict[str, Any]:
        """State of a loop that has sampled the untuned model, with as many elites as any member may keep."""
        folder = self.directory / UNTUNED
        try:
            if (found := latest(folder)) is not None:
                return load_checkpoint(found).state
        except CheckpointError as error:
            logger.warning("%s; the same samples are drawn again", error)
            shutil.rmtree(folder)
        loop = self._loop(with_settings(self.config, {"method.replay_size": most_elites(self.config)}), Tracker())
        with loop.pool, loop.display:
            loop.advance()
        return load_checkpoint(save_checkpoint(folder, 0, loop.state_dict())).state

    def _loop(self, config: RunConfig, tracker: Tracker) -> TrainingLoop:
        """A loop in this process, its pool as large as the cluster has room for."""
        torch.set_num_threads(os.cpu_count() or 1)
        wide = with_settings(config, {"rollouts.workers": config.rollouts.workers * self.fitting})
        pool = make_pool(wide, self.terrains, self.instructions, exported(self.lm), self.factory)
        display = Display(self.terrains, self.console)
        return TrainingLoop(config, self.terrains, self._learner(config), pool, tracker, display)

    def _learner(self, config: RunConfig) -> Learner:
        return Learner(config, self.lm, self.instructions, self.tasks, self.niches)

    def _fit(self, population: Population, received: list[int]) -> None:
        """Lets Tune run the members; the number of a signal that interrupts it is added to those received."""
        os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")  # what a kill can cost, in seconds
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # one table, not one for every start of a member
        trainable = tune.with_resources(
            tune.with_parameters(MemberTrial, population=population), placement(self.config)
        )
        tuner = make_tuner(self.config, self.directory, trainable, self.fitting)
        with as_sigint(received):
            tuner.fit()
        record, search = Record(self.directory / FILE), self.config.search
        over = {*record.ended, *map(int, record.errors)}
        used_up = search.total_rounds is not None and len(record.rounds) >= search.total_rounds
        if not (received or used_up or len(over) >= search.members):
            received.append(signal.SIGINT)  # Tune caught the signal itself, and ended early

    def _best(self) -> dict[str, Any] | None:
        """State of the member that was best on the evaluation set at the end of a round, None where all failed."""
        found = best_of(self.directory / TUNE, self.config.search.objective)
        for name in self.record.pass_over(found.damaged):
            logger.warning("%s is damaged and was passed over", self.directory / TUNE / name)
        self.record.save()
        return found.state

    def _finish(self, best: dict[str, Any], tracker: Tracker) -> None:
        """Evaluates the best member as the main job does its prompts, then writes what the search found."""
        config = member_config(self.config, best["member"], best["settings"])
        config = with_settings(
            config,
            {"evaluation.samples_per_terrain": self.config.evaluation.samples_per_terrain, "train.run_name": BEST},
        )
        directory = self.directory / BEST
        directory.mkdir(exist_ok=True)
        self._note(directory, config)
        loop = self._loop(config, tracker)
        loop.load_state_dict({**best["loop"], "stage": "closing"})
        with loop.pool, loop.display:
            while loop.stage != "done":
                loop.advance()
        if tracker.run_id:
            self.record.mlflow["search"] = tracker.run_id
            self.record.save()
        run_id = self.record.mlflow.get(str(best["member"]))
        save_checkpoint(directory, loop.step, {"loop": loop.state_dict(), "run": {"mlflow_run_id": run_id}})
        unit = finish(loop, self.lm, self.world, directory, self.console).unit("fitness")
        with whole_file(self.directory / TREE) as draft:
            draw_family_tree(self.record, draft, unit, self.config.search.objective)
        summary = summarise(self.config, self.record, self.terrains, best, time.monotonic() - self.began)
        for path in (write_summary(self.directory, summary), self.record.path, self.directory / TREE):
            tracker.artifact(path)
        reached = {f"best_{name}": value for name, value in summary["best"]["variety"].items()}
        found = {"best_fitness": summary["best"]["fitness"], "resizes": float(summary["resizes"]), **reached}
        tracker.log(found, loop.step)
        self.console.print(standings(self.record, self.config.search.objective))
        if self.record.resizes:
            self.console.print(self.record.table())
        print_summary(summary, self.record, self.directory, self._say)

    def _tracker(self) -> Tracker:
        tracker = open_tracker(
            self.config.train.tracker,
            self.config.tracking.experiment,
            self.config.model_dump(mode="json", by_alias=True),
            run_name=self.directory.name,
            tags={"search": self.config.search.algorithm, "run_directory": str(self.directory)},
            run_id=self.record.mlflow.get("search"),
            uri=self.config.tracking.uri,
            keep=self.directory / UNTRACKED,
        )
        if tracker.run_id:
            self.record.mlflow["search"] = tracker.run_id
        return tracker

    def _note(self, directory: Path, config: RunConfig) -> None:
        """Writes settings, and what the world's files say."""
        write_text(directory / "config.json", config.model_dump_json(by_alias=True, indent=2) + "\n")
        for name, text in self.kept.items():
            write_text(directory / name, text)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
