"""What a search found: the file ``summary.json``, and the lines that a person reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distributed.config import RunConfig
from distributed.infra.numbers import fitness_text
from distributed.infra.writing import write_text
from distributed.search.lineage import Record
from distributed.search.objective import FITNESS, front, value_of, value_text

BEST, TREE, SUMMARY, TUNE = "best", "family_tree.png", "summary.json", "tune"


def summarise(
    config: RunConfig, record: Record, terrains: Sequence[str], best: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """What a search found, in plain values.

    Args:
        config: settings of the search.
        record: what happened.
        terrains: canonical names, in the order of the prompts.
        best: state of the best member.
        seconds: wall-clock time of this process's part of the search.
    """
    search = config.search
    last = [each for member in record.members() if (each := record.last(member))]
    samples = search.evaluation_samples * len(terrains)
    measured = 2 * len(record.resizes) if search.measure_surgery else 0
    return {
        "algorithm": search.algorithm,
        "objective": list(search.objective),
        "synch": search.synch,
        "seed": config.train.seed,
        "members": search.members,
        "errored": len(record.errors),
        "errors": record.errors,
        "damaged_checkpoints": len(record.damaged),
        "exploits": len(record.exploits),
        "resizes": len(record.resizes),
        "best": {
            "member": best["member"],
            "step": best["loop"]["step"],
            "fitness": float(np.mean(best["fitness"])),
            "fitness_by_terrain": dict(zip(terrains, map(float, best["fitness"]), strict=True)),
            "variety": dict(best.get("variety", {})),
            "config": best["settings"],
        },
        "best_run": BEST,
        "rounds": len(record.rounds),
        "rollouts": config.warm_start.samples + sum(each["trained_on"] for each in record.rounds),
        "evaluation_rollouts": samples * (len(record.rounds) + measured),
        "final_fitness": {str(each["member"]): each["fitness"] for each in last},
        "final_variety": {str(each["member"]): each.get("variety", {}) for each in last},
        **_front(record, search.objective),
        "survivors": {name: record.survivors(name) for name in search.space},
        "seconds": round(seconds, 1),
    }


def _front(record: Record, objectives: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """The rounds that no other beats in all of several objectives; nothing where there is one alone."""
    if len(objectives) == 1:
        return {}
    known = [each for each in record.rounds if each.get("variety")]
    return {
        "front": [
            {"member": each["member"], "step": each["step"], **{name: value_of(each, name) for name in objectives}}
            for each in front(known, objectives)
        ]
    }


def write_summary(directory: Path, summary: dict[str, Any]) -> Path:
    """Writes ``summary.json``, whole or not at all; returns its path."""
    path = directory / SUMMARY
    write_text(path, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return path


def print_summary(summary: dict[str, Any], record: Record, directory: Path, say: Callable[[str], None]) -> None:
    """Prints what was found, and where its files are."""
    best = summary["best"]
    failed = f", {summary['errored']} failed" if summary["errored"] else ""
    found = ", ".join(f"{name} {value}" for name, value in best["config"].items())
    say(
        f"{summary['members']} members{failed}, {summary['rounds']} rounds, {summary['exploits']} copies of which "
        f"{summary['resizes']} changed size; {summary['rollouts']} programs sampled for training"
    )
    if record.damaged:
        say(f"damaged  {len(record.damaged)} checkpoints were passed over: {', '.join(record.damaged)}")
    reached = best["variety"] | {FITNESS: best["fitness"]}
    others = [f"{name} {value_text(name, reached[name])}" for name in summary["objective"] if name in reached]
    ranked = fitness_text(best["fitness"]) if summary["objective"] == [FITNESS] else ", ".join(others)
    say(f"best     member {best['member']} at step {best['step']}, {ranked}: {found}")
    if len(summary.get("front", [])) > 1:
        said = [
            f"member {each['member']} at step {each['step']} "
            f"({', '.join(value_text(name, each[name]) for name in summary['objective'])})"
            for each in summary["front"]
        ]
        say(f"unbeaten in {' and '.join(summary['objective'])} together: {', '.join(said)}")
    say(f"its run  {directory / BEST}; terraprompt export {shlex.quote(str(directory))} takes it")
    say(f"lineage  {record.path}, and its picture {TREE}")
    say(f"curves   tensorboard --logdir {shlex.quote(str(directory / TUNE))}")
