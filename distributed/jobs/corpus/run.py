"""``terraprompt corpus``: Stage 1, with its progress, its log and its card."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from distributed.errors import UserError
from distributed.infra.locking import LOCK, locked
from distributed.infra.signals import exit_status, interruptible, say_last
from distributed.infra.writing import told, why, write_text
from distributed.jobs.corpus.card import card_table, corpus_card
from distributed.jobs.corpus.console import CorpusDisplay
from distributed.observability.console import make_console
from terrains.sodarace.map_elites.corpus import CorpusConfig, write_corpus
from terrains.sodarace.map_elites.evaluation import Evaluation, Evaluator, WorldEvaluator
from terrains.sodarace.map_elites.evolution import Evolution
from terrains.sodarace.map_elites.log import CorpusLog
from terrains.sodarace.world import SodaraceWorld, WorldConfig


def run_corpus(config: CorpusConfig, out: Path, use_ray: bool, fresh: bool) -> int:
    """Runs the command; its options are explained in `distributed.cli.corpus`.

    Returns:
        The exit status.

    Raises:
        UserError: a terrain is unknown, no cluster answers, the log is of a run with other settings, or the files
            cannot be written.
    """
    if out.is_dir():
        raise UserError(f"--out: {str(out)!r} is a directory")
    console = make_console()
    rules = WorldConfig(threads=1 if use_ray else 0, cache=0)
    world = SodaraceWorld(rules)
    with told(out):
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out.absolute().parent, f".{out.name}{LOCK}"):
            card = _build(world, rules, config, out, use_ray, fresh, console)
    except (ValueError, ConnectionError) as error:
        raise UserError(str(error)) from None
    finally:
        world.close()
    return _conclude(card, out, console)


def _build(
    world: SodaraceWorld, rules: WorldConfig, config: CorpusConfig, out: Path, use_ray: bool, fresh: bool,
    console: Console,
) -> dict:  # fmt: skip
    """Makes a corpus, or continues an interrupted one; returns its card."""
    fingerprints = [world.terrain(name).fingerprint for name in config.terrains]
    evaluator = _ray_evaluator(rules, config) if use_ray else WorldEvaluator(world, config.terrains)
    if fresh:
        with told(log_of(out)):
            log_of(out).unlink(missing_ok=True)
    return build_corpus(evaluator, config, fingerprints, out, console)


def _ray_evaluator(rules: WorldConfig, config: CorpusConfig) -> Evaluator:
    from distributed.config import RayConfig
    from distributed.infra.ray_cluster import connect_ray
    from distributed.jobs.corpus.ray_evaluator import RayEvaluator

    connect_ray(RayConfig())
    return RayEvaluator(rules, config.terrains)


def log_of(out: Path) -> Path:
    """Where the log of a corpus lies."""
    return out.with_suffix(".log.jsonl")


def build_corpus(
    evaluator: Evaluator, config: CorpusConfig, fingerprints: Sequence[str], out: Path, console: Console
) -> dict:
    """Runs Stage 1, or goes on with it where an earlier call was interrupted, and writes the corpus and its card.

    Signals and a broken pipe end it in good order: the corpus so far is written. After any end, a crash included, the
    log lets the next call go on, and nothing in it is evaluated again. While there is no program yet, an earlier corpus
    stays.

    Args:
        evaluator: evaluates the programs on the terrains of ``config``.
        config: settings of Stage 1.
        fingerprints: those of the terrains, in order.
        out: JSON-lines file; ``<name>.card.json`` and ``<name>.log.jsonl`` lie beside it.
        console: where progress goes: a bar on a terminal, a line a generation in a log.

    Returns:
        The card, see `distributed.jobs.corpus.card`. Its ``interrupted`` holds the signal's number, or None.

    Raises:
        UserError: the log is of a run with other settings, or the files cannot be read or written.
    """
    evolution, log = Evolution(evaluator, config), CorpusLog(log_of(out), config, fingerprints)
    try:
        evolution.restore(*log.read())
    except OSError as error:
        raise UserError(f"cannot read {str(log.path)!r}: {why(error)}") from None
    except ValueError as error:
        raise UserError(f"{error}; --fresh forgets it and begins anew") from None
    if done := evolution.evaluated + len(evolution.under_way):
        console.print(f"going on after {done:,} evaluations, from {log.path}", highlight=False, soft_wrap=True)
    with interruptible() as received:
        try:
            _evolve(evolution, log, console)
        except BaseException:
            if not received:
                raise
    programs, dropped = evolution.corpus()
    card = corpus_card(evolution, programs, dropped, log.seconds)
    card["interrupted"] = received[0] if received else None
    if programs:
        with told(out):
            write_corpus(out, programs)
        write_text(out.with_suffix(".card.json"), json.dumps(card, indent=2) + "\n")
    return card


def _evolve(evolution: Evolution, log: CorpusLog, console: Console) -> None:
    with CorpusDisplay(evolution, console) as display:

        def note(evaluations: Sequence[Evaluation]) -> None:
            with told(log.path):
                log.append_evaluations(evaluations)
            display.evaluations()

        began = time.monotonic()
        for generation in evolution.run(note):
            now = time.monotonic()
            with told(log.path):
                log.append(generation, now - began)
            began = now
            display.generation()


def _conclude(card: dict, out: Path, console: Console) -> int:
    if card["programs"]:
        console.print(card_table(card))
        line = f"{card['programs']:,} programs of {card['evaluated']:,} evaluated, {card['valid']:,} of them valid, "
        console.print(f"{line}in {out}; its card is {out.with_suffix('.card.json')}", highlight=False, soft_wrap=True)
    else:
        console.print("no program is near the best of its kind yet; no corpus is written", soft_wrap=True)
    if card["interrupted"]:
        say_last(f"interrupted; the same command goes on from {log_of(out)}")
        return exit_status(card["interrupted"])
    wanted = card["config"]["programs"]
    if card["programs"] < wanted:
        line = f"fewer than the {wanted:,} of --programs; the same command with more --evaluations goes on from here"
        console.print(line, highlight=False, soft_wrap=True)
    return 0
