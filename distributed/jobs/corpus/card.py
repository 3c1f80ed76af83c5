"""The card of a corpus: the command that makes it again, its settings, what it came to and what it left out."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from rich.table import Table

from terrains.sodarace.map_elites.corpus import CorpusConfig, CorpusProgram
from terrains.sodarace.map_elites.evolution import Evolution, numbers_in


def corpus_card(
    evolution: Evolution, programs: Sequence[CorpusProgram], dropped: Mapping[str, int], seconds: float
) -> dict:
    """Returns the card of a corpus; plain data, ready for JSON.

    Args:
        evolution: the run that made it.
        programs: the corpus.
        dropped: how many of the programs that the run kept are not in it, by reason.
        seconds: what the run took.

    Returns:
        ``left_out`` counts programs by reason; together with ``programs`` these are all that were ``tried``, unless the
        run was interrupted. ``coverage`` and ``qd_score`` are those of the archives by group of terrains, ``fitness``
        and its ``correlations`` those of the corpus by terrain. ``numbers`` are those of a program, each of which comes
        with about two tokens. ``operators`` counts what made the programs out of their parents.
    """
    config = evolution.config
    fitness = np.array([[p.fitness[t] for t in config.terrains] for p in programs]).reshape(-1, len(config.terrains))
    numbers = [numbers_in(p.program) for p in programs] or [0]
    last = evolution.history[-1] if evolution.history else {}
    return {
        "command": command(config.model_copy(update={"evaluations": evolution.evaluated})),
        "config": config.model_dump(mode="json"),
        "programs": len(programs),
        "elites": len(evolution.archives.elites()),
        "tried": evolution.tried,
        "evaluated": evolution.evaluated,
        "valid": evolution.valid,
        "left_out": dict((evolution.left_out + Counter(dropped)).most_common()),
        "seconds": round(seconds, 1),
        "coverage": last.get("coverage", {}),
        "qd_score": last.get("qd_score", {}),
        "fitness": _fitness(fitness, config.terrains) if programs else {},
        "correlations": _correlations(fitness, config.terrains) if len(programs) > 1 else {},
        "numbers": {"median": float(np.median(numbers)), "most": max(numbers)},
        "styles": dict(Counter(p.style for p in programs).most_common()),
        "operators": dict(Counter(name for p in programs for name in p.operators or ("drawn",)).most_common()),
    }


def command(config: CorpusConfig) -> str:
    """Returns the command that makes a corpus with these settings; those that are the defaults are left out."""
    usual = CorpusConfig()
    parts = ["terraprompt", "corpus", "--out", "data/corpus.jsonl"]
    for name in ("programs", "evaluations", "max_numbers", "seed"):
        if getattr(config, name) != getattr(usual, name):
            parts += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    if config.niches.keep_above != usual.niches.keep_above:
        parts += ["--keep-above", f"{config.niches.keep_above:g}"]
    if config.groups != usual.groups:
        parts += [part for group in config.named_groups for part in ("--group", group)]
    return shlex.join(parts)


def card_table(card: dict) -> Table:
    """Returns the card's figures by group of terrains, for a terminal."""
    table = Table(title="Elites", title_justify="left", box=None, pad_edge=False)
    table.add_column("archive", overflow="fold", min_width=len("archive"))
    for heading in ("niches filled", "QD score"):
        table.add_column(heading, justify="right")
    for group, coverage in card["coverage"].items():
        table.add_row(group, f"{coverage:.1%}", f"{card['qd_score'][group]:,.0f}")
    return table


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
