"""The search from its beginning to its end: what members share, Tune, and the best member's own run."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from distributed.assemble import exported, load_lm, make_pool, make_world, new_directory, terrain_names, world_factory
from distributed.checkpoint import CheckpointError, latest, load_checkpoint, save_checkpoint
from distributed.cluster import connect_ray
from distributed.config import Range, RunConfig
from distributed.config_io import with_settings
from distributed.display import Display, make_console
from distributed.errors import UserError
from distributed.finish import finish
from distributed.interruption import SIGNALS, cause, exit_status, interruptible, say_last
from distributed.learner import Learner
from distributed.locking import locked
from distributed.loop import TrainingLoop
from distributed.pool_base import RolloutError
from distributed.search.member import Population, member_config
from distributed.search.record import FILE, Record
from distributed.search.scheduler import METRIC, Budget, FirstMembers, make_scheduler
from distributed.search.space import check_space, domains, first_members
from distributed.search.tree import SIZE, draw_family_tree
from distributed.search.trial import MemberTrial, members_that_fit, placement
from distributed.search.watch import Watcher
from distributed.sources import with_absolute_start
from distributed.tracking import NullTracker, open_tracker
from distributed.worker import instruction_ids
from distributed.writing import WriteError, whole_file, write_text
from softprompt.model import FrozenLM
from terrains.sodarace.world import SodaraceWorld

TUNE, UNTUNED, BEST, TREE = "tune", "untuned", "best", "family_tree.png"


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
    world = make_world(config)
    try:
        return _Search(config, world, resume).run()
    finally:
        world.close()


def settings_of(directory: Path) -> RunConfig:
    """Settings of an interrupted search.

    Raises:
        UserError: there is no search, or it has ended.
    """
    if not (directory / "config.json").exists():
        raise UserError(f"--resume: there is no search in {str(directory)!r}")
    if (directory / "summary.json").exists():
        raise UserError(f"--resume: the search in {str(directory)!r} has ended")
    return RunConfig.model_validate_json((directory / "config.json").read_text())


class _Search:
    """One sitting of a search."""

    def __init__(self, config: RunConfig, world: SodaraceWorld, resume: Path | None) -> None:
        self._held = ExitStack()
        if resume:
            self._held.enter_context(locked(resume.resolve()))
        config = with_absolute_start(config)
        self.config, self.world, self.console = config, world, make_console()
        self.terrains = terrain_names(world, config)
        self.lm = load_lm(config)
        self.tasks = [world.terrain(t) for t in self.terrains]
        self.instructions = [instruction_ids(self.lm, task.instruction) for task in self.tasks]
        _check_positions(config, self.lm, self.instructions)
        Learner(config, self.lm, self.instructions, self.tasks)  # what no member could start from is said now
        try:
            connect_ray(config.ray)
        except ConnectionError as error:
            raise UserError(f"ray.address: {error}") from None
        self.fitting = members_that_fit(config, [n["Resources"] for n in ray.nodes() if n["Alive"]])
        self.directory = resume.resolve() if resume else new_directory(config)
        if not resume:
            self._held.enter_context(locked(self.directory))
        write_text(self.directory / "config.json", config.model_dump_json(by_alias=True, indent=2) + "\n")
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
                status = self._sit(received)
            except (RolloutError, CheckpointError, WriteError) as error:
                raise UserError(f"{error}; {self._again()}") from error
            except BaseException:  # whatever a signal has broken on its way is no error of the search
                if not received:
                    raise
            if received:
                say_last(f"interrupted; {self._again()}")
                return exit_status(received[0])
        return status

    def _sit(self, received: list[int]) -> int:
        """From its beginning, or where it was, to its end or an interruption."""
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
            self._say("every member failed; the last words of each:")
            for member, why in self.record.errors.items():
                self._say(f"  member {member}: {why}")
            return 1

    def _again(self) -> str:
        return f"continue with: terraprompt search --resume {shlex.quote(str(self.directory))}"

    def _population(self) -> Population:
        """What members share. The untuned samples are drawn here, once, and travel through the object store."""
        model = ray.put(exported(self.lm))
        found = latest(self.directory / UNTUNED)
        if found is None:
            loop = self._loop(self.config, NullTracker())
            with loop.pool, loop.display:
                loop.advance()
            found = save_checkpoint(self.directory / UNTUNED, 0, loop.state_dict())
        untuned = ray.put(load_checkpoint(found).state)
        world = world_factory(self.config)
        tasks = tuple(self.tasks)
        return Population(self.config, tuple(self.terrains), tuple(self.instructions), world, model, untuned, tasks)

    def _loop(self, config: RunConfig, tracker: NullTracker) -> TrainingLoop:
        """A loop in this process, its pool as large as the cluster has room for."""
        torch.set_num_threads(os.cpu_count() or 1)
        replayed = config.search.space.get("method.replay_size", ())
        elites = max([config.method.replay_size, *([] if isinstance(replayed, Range) else replayed)])
        wide = {"rollouts.workers": config.rollouts.workers * self.fitting, "method.replay_size": elites}
        config = with_settings(config, wide)
        pool = make_pool(config, self.terrains, self.instructions, exported(self.lm))
        learner = Learner(config, self.lm, self.instructions, self.tasks)
        return TrainingLoop(config, self.terrains, learner, pool, tracker, Display(self.terrains, self.console))

    def _fit(self, population: Population, received: list[int]) -> None:
        """Lets Tune run the members; the number of a signal that interrupts it is added to those received."""
        os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")  # what a kill can cost, in seconds
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # one table, not one for every start of a member
        trainable = tune.with_resources(
            tune.with_parameters(MemberTrial, population=population), placement(self.config)
        )
        folder = self.directory / TUNE
        if tune.Tuner.can_restore(str(folder)):
            tuner = tune.Tuner.restore(str(folder), trainable, resume_unfinished=True, resume_errored=True)
        else:
            tuner = self._tuner(trainable)
        with _signals_as_sigint(received):
            tuner.fit()
        record, search = Record(self.directory / FILE), self.config.search
        gone = {*record.ended, *map(int, record.errors)}
        used_up = search.total_rounds is not None and len(record.rounds) >= search.total_rounds
        if not (received or used_up or len(gone) >= search.members):
            received.append(signal.SIGINT)  # which Tune took for itself

    def _tuner(self, trainable: Any) -> tune.Tuner:
        search = self.config.search
        return tune.Tuner(
            trainable,
            param_space=domains(search.space),
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                num_samples=search.members,
                search_alg=FirstMembers(
                    points_to_evaluate=first_members(self.config), max_concurrent=search.concurrent or 0
                ),
                scheduler=make_scheduler(self.config, self.fitting),
                reuse_actors=True,
                trial_dirname_creator=_directory_name,
                trial_name_creator=_directory_name,
            ),
            run_config=tune.RunConfig(
                name=TUNE,
                storage_path=str(self.directory),
                callbacks=[Watcher(self.directory, self.config)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=True),
                failure_config=tune.FailureConfig(max_failures=search.max_failures),
                stop=Budget(search.total_rounds, self.directory / FILE) if search.total_rounds else None,
                progress_reporter=tune.CLIReporter(
                    metric_columns={METRIC: METRIC, "step": "step", "valid": "valid", "rollouts": "rollouts"},
                    parameter_columns={name: name.rpartition(".")[2] for name in search.space},
                    max_report_frequency=30,
                ),
                verbose=1,
            ),
        )

    def _best(self) -> dict[str, Any] | None:
        """State of the member that was best on the evaluation set at the end of a round, None where all failed."""
        found: tuple[float, Path] | None = None
        for folder in sorted((self.directory / TUNE).glob("member-*/checkpoint_*")):
            path = latest(folder)
            fitness = float(np.mean(load_checkpoint(path).state["fitness"])) if path else -np.inf
            if path and (found is None or fitness > found[0]):
                found = fitness, path
        return load_checkpoint(found[1]).state if found else None

    def _finish(self, best: dict[str, Any], tracker: NullTracker) -> None:
        """Evaluates the best member as the main job does its prompts, then writes what the search found."""
        config = member_config(self.config, best["member"], best["settings"])
        config = with_settings(
            config,
            {"evaluation.samples_per_terrain": self.config.evaluation.samples_per_terrain, "train.run_name": BEST},
        )
        directory = self.directory / BEST
        directory.mkdir(exist_ok=True)
        write_text(directory / "config.json", config.model_dump_json(by_alias=True, indent=2) + "\n")
        loop = self._loop(config, tracker)
        loop.load_state_dict({**best["loop"], "stage": "closing"})
        with loop.pool, loop.display:
            while loop.stage != "done":
                loop.advance()
        run_id = self.record.mlflow.get(str(best["member"]))
        save_checkpoint(directory, loop.step, {"loop": loop.state_dict(), "run": {"mlflow_run_id": run_id}})
        finish(loop, self.lm, self.world, directory, self.console)
        with whole_file(self.directory / TREE) as draft:
            draw_family_tree(self.record, draft)
        summary = self._summary(best)
        write_text(self.directory / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        for path in (self.directory / "summary.json", self.record.path, self.directory / TREE):
            tracker.artifact(path)
        tracker.log({"best_fitness": summary["best"]["fitness"], "resizes": float(summary["resizes"])}, loop.step)
        self._tell(summary)

    def _summary(self, best: dict[str, Any]) -> dict[str, Any]:
        record, search = self.record, self.config.search
        last = [each for member in record.members() if (each := record.last(member))]
        samples = search.evaluation_samples * len(self.terrains)
        measured = 2 * len(record.resizes) if search.measure_surgery else 0
        return {
            "algorithm": search.algorithm,
            "synch": search.synch,
            "seed": self.config.train.seed,
            "members": search.members,
            "errored": len(record.errors),
            "errors": record.errors,
            "exploits": len(record.exploits),
            "resizes": len(record.resizes),
            "best": {
                "member": best["member"],
                "step": best["loop"]["step"],
                "fitness": float(np.mean(best["fitness"])),
                "fitness_by_terrain": dict(zip(self.terrains, map(float, best["fitness"]), strict=True)),
                "config": best["settings"],
            },
            "best_run": BEST,
            "rounds": len(record.rounds),
            "rollouts": self.config.warm_start.samples + sum(each["trained_on"] for each in record.rounds),
            "evaluation_rollouts": samples * (len(record.rounds) + measured),
            "final_fitness": {str(each["member"]): each["fitness"] for each in last},
            "survivors": {name: record.survivors(name) for name in search.space},
            "seconds": round(time.monotonic() - self.began, 1),
        }

    def _tell(self, summary: dict[str, Any]) -> None:
        if self.record.resizes:
            self.console.print(self.record.table())
        best = summary["best"]
        failed = f", {summary['errored']} failed" if summary["errored"] else ""
        found = ", ".join(f"{name} {value}" for name, value in best["config"].items())
        self._say(
            f"{summary['members']} members{failed}, {summary['rounds']} rounds, {summary['exploits']} copies of which "
            f"{summary['resizes']} changed size; {summary['rollouts']} programs sampled for training"
        )
        self._say(f"best     member {best['member']} at step {best['step']}, {best['fitness']:.1f}: {found}")
        self._say(f"its run  {self.directory / BEST}; terraprompt export {shlex.quote(str(self.directory))} takes it")
        self._say(f"lineage  {self.record.path}, and its picture {TREE}")
        self._say(f"curves   tensorboard --logdir {shlex.quote(str(self.directory / TUNE))}")

    def _tracker(self) -> NullTracker:
        tracker = open_tracker(
            self.config.train.tracker,
            self.config.tracking.experiment,
            self.config.model_dump(mode="json", by_alias=True),
            run_name=self.directory.name,
            tags={"search": self.config.search.algorithm, "run_directory": str(self.directory)},
            run_id=self.record.mlflow.get("search"),
            uri=self.config.tracking.uri,
        )
        if tracker.run_id:
            self.record.mlflow["search"] = tracker.run_id
        return tracker

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _check_positions(config: RunConfig, lm: FrozenLM, instructions: list[tuple[int, ...]]) -> None:
    """Checks that the largest prompt of the space fits the language model."""
    choices = config.search.space.get(SIZE, (config.method.n_soft_tokens,))
    largest = int(choices.high) if isinstance(choices, Range) else max(choices)
    longest = max(len(each) for each in instructions)
    needed = with_settings(config, {SIZE: largest}).sequence_length(longest)
    if lm.max_length is not None and needed > lm.max_length:
        raise UserError(
            f"search.space.{SIZE}: {largest} soft tokens and the longest program need {needed} positions; the language "
            f"model has {lm.max_length}"
        )


def _directory_name(trial: Any) -> str:
    return f"member-{int(trial.trial_id.rpartition('_')[2]):02d}"


@contextmanager
def _signals_as_sigint(received: list[int]) -> Iterator[None]:
    """Lets other signals end a search as Tune ends it at SIGINT: members stop, what they reached is kept.

    Args:
        received: takes the signal's number when it comes.
    """

    def pass_on(number: int, _: Any) -> None:
        if not received:
            received.append(cause(number))
            os.kill(os.getpid(), signal.SIGINT)

    others = [each for each in SIGNALS if each != signal.SIGINT and signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, pass_on) for each in others}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
