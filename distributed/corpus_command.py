"""``terraprompt corpus``: Stage 1, with its progress, its log and its card."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from distributed.display import make_console
from distributed.errors import UserError
from distributed.interruption import exit_status, interruptible
from terrains.sodarace.archive import NicheConfig
from terrains.sodarace.corpus import CorpusConfig, CorpusProgram, write_corpus
from terrains.sodarace.corpus_log import CorpusLog
from terrains.sodarace.evaluation import Evaluator, WorldEvaluator
from terrains.sodarace.evolution import Evolution, numbers_in
from terrains.sodarace.world import SodaraceWorld, WorldConfig


def run_corpus(
    out: Path, programs: int, evaluations: int, groups: Sequence[str] | None, keep_above: float, seed: int,
    use_ray: bool, fresh: bool,
) -> int:  # fmt: skip
    """The command; its options are explained where it is declared, in `distributed.cli`.

    Returns:
        The exit status.

    Raises:
        UserError: a terrain is unknown, no cluster answers, the log is of a run with other settings, or the files
            cannot be written.
    """
    given: dict = {"groups": tuple(map(_terrains_of, groups))} if groups else {}
    if () in given.get("groups", ()):
        raise UserError("--group: needs a terrain's name, or several separated by commas")
    config = CorpusConfig(
        programs=programs, evaluations=evaluations, seed=seed, niches=NicheConfig(keep_above=keep_above), **given
    )
    if out.is_dir():
        raise UserError(f"--out: {str(out)!r} is a directory")
    console = make_console()
    rules = WorldConfig(threads=1 if use_ray else 0, cache=0)
    world = SodaraceWorld(rules)
    try:
        fingerprints = [world.terrain(name).fingerprint for name in config.terrains]
        if fresh:
            log_of(out).unlink(missing_ok=True)
        evaluator = _ray_evaluator(rules, config) if use_ray else WorldEvaluator(world, config.terrains)
        card = build_corpus(evaluator, config, fingerprints, out, console)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from None
    finally:
        world.close()
    return _conclude(card, out, console)


def _terrains_of(group: str) -> tuple[str, ...]:
    """Splits at commas, but not at those between a terrain's parameters."""
    return tuple(name.strip() for name in re.split(r",(?![^(]*\))", group) if name.strip())


def _ray_evaluator(rules: WorldConfig, config: CorpusConfig) -> Evaluator:
    from distributed.cluster import connect_ray
    from distributed.config import RayConfig
    from distributed.corpus_tasks import RayEvaluator

    connect_ray(RayConfig())
    return RayEvaluator(rules, config.terrains)


def _conclude(card: dict, out: Path, console: Console) -> int:
    wanted = card["config"]["programs"]
    where = f"in {out}" if card["programs"] else "so far; nothing is written"
    console.print(
        f"{card['programs']:,} programs of {card['evaluated']:,} evaluated {where}", highlight=False, soft_wrap=True
    )
    if card["interrupted"]:
        console.print("interrupted; the same command goes on from here")
        return exit_status(card["interrupted"])
    if card["programs"] < wanted:
        console.print(
            f"that is less than {wanted:,}; the same command with more --evaluations goes on from here",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    return 0


def log_of(out: Path) -> Path:
    """Where the log of a corpus lies."""
    return out.with_suffix(".log.jsonl")


def build_corpus(
    evaluator: Evaluator, config: CorpusConfig, fingerprints: Sequence[str], out: Path, console: Console
) -> dict:
    """Runs Stage 1, or goes on with it where an earlier call was interrupted, and writes the corpus and its card.

    SIGINT and SIGTERM end it in good order: the corpus so far is written, and the log lets the next call go on. While
    there is no program yet, no file is touched.

    Args:
        evaluator: evaluates the programs on the terrains of ``config``.
        config: settings of Stage 1.
        fingerprints: those of the terrains, in order.
        out: JSON-lines file; ``<name>.card.json`` and ``<name>.log.jsonl`` lie beside it.
        console: where progress goes: a bar on a terminal, a line a generation in a log.

    Returns:
        The card: settings, counts, what was left out by reason, coverage and QD score, fitness by terrain and its
        correlations. ``interrupted`` holds the signal's number, or None.

    Raises:
        ValueError: the log is of a run with other settings.
    """
    evolution, log = Evolution(evaluator, config), CorpusLog(log_of(out), config, fingerprints)
    earlier = log.read()
    if earlier:
        evolution.restore(earlier)
        console.print(f"going on after {evolution.evaluated:,} evaluations, from {log.path}", highlight=False)
    with interruptible() as received:
        try:
            _evolve(evolution, log, console)
        except BaseException:
            if not received:
                raise
    programs, dropped = evolution.corpus()
    card = _card(evolution, programs, dropped, log.seconds) | {"interrupted": received[0] if received else None}
    if programs:
        write_corpus(out, programs)
        out.with_suffix(".card.json").write_text(json.dumps(card, indent=2) + "\n")
    return card


def _evolve(evolution: Evolution, log: CorpusLog, console: Console) -> None:
    total = evolution.config.evaluations
    if not console.is_terminal:
        _generations(evolution, log, lambda told: console.print(told, highlight=False, soft_wrap=True))
        return
    columns = (TextColumn("evaluated"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        task = progress.add_task("", total=total, completed=evolution.evaluated)
        _generations(
            evolution, log, lambda told: progress.update(task, completed=evolution.evaluated, description=told)
        )


def _generations(evolution: Evolution, log: CorpusLog, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    for generation in evolution.run():
        now = time.monotonic()
        log.append(generation, now - began)
        began = now
        tell(_line(evolution))


def _line(evolution: Evolution) -> str:
    last = evolution.history[-1]
    coverage = sum(last["coverage"].values()) / len(last["coverage"])
    return (
        f"{evolution.evaluated:,} evaluated, {len(evolution.kept):,} kept, {last['elites']:,} elites, "
        f"coverage {coverage:.1%}, QD score {sum(last['qd_score'].values()):,.0f}"
    )


def _card(evolution: Evolution, programs: list[CorpusProgram], dropped: dict[str, int], seconds: float) -> dict:
    config = evolution.config
    elites = evolution.archives.elites()
    fitness = np.array([[p.fitness[t] for t in config.terrains] for p in programs]).reshape(-1, len(config.terrains))
    last = evolution.history[-1] if evolution.history else {}
    return {
        "config": config.model_dump(mode="json"),
        "programs": len(programs),
        "elites": len(elites),
        "tried": evolution.tried,
        "evaluated": evolution.evaluated,
        "left_out": dict((evolution.left_out + Counter(dropped)).most_common()),
        "seconds": round(seconds, 1),
        "coverage": last.get("coverage", {}),
        "qd_score": last.get("qd_score", {}),
        "fitness": _fitness(fitness, config.terrains) if programs else {},
        "correlations": _correlations(fitness, config.terrains) if len(programs) > 1 else {},
        "numbers": _lengths(programs),
        "styles": dict(Counter(p.style for p in programs).most_common()),
        "operators": dict(Counter(name for p in programs for name in p.operators or ("drawn",)).most_common()),
    }


def _lengths(programs: list[CorpusProgram]) -> dict[str, float]:
    """Numbers in a program, each of which comes with about two tokens."""
    counts = [numbers_in(p.program) for p in programs] or [0]
    return {"median": float(np.median(counts)), "most": max(counts)}


def _fitness(fitness: np.ndarray, terrains: Sequence[str]) -> dict[str, dict[str, float]]:
    figures = {"mean": fitness.mean(0), "p95": np.quantile(fitness, 0.95, 0), "p99": np.quantile(fitness, 0.99, 0)}
    figures["best"] = fitness.max(0)
    return {t: {name: round(float(v[k]), 2) for name, v in figures.items()} for k, t in enumerate(terrains)}


def _correlations(fitness: np.ndarray, terrains: Sequence[str]) -> dict[str, dict[str, float]]:
    """Pearson correlation of fitness between terrains over the corpus."""
    with np.errstate(invalid="ignore"):
        table = np.atleast_2d(np.corrcoef(fitness.T))
    return {
        a: {b: round(float(c), 3) for b, c in zip(terrains, row, strict=True)}
        for a, row in zip(terrains, table, strict=True)
    }
