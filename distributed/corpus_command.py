"""``terraprompt corpus``: Stage 1, with a progress bar and a card."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from terrains.base import World
from terrains.sodarace.corpus import CorpusBuilder, CorpusConfig, write_corpus


def build_corpus(world: World, config: CorpusConfig, out: Path, console: Console) -> dict:
    """Builds a corpus and writes it beside its card.

    Ctrl-C keeps what there is: the programs found so far are written before the command ends.

    Args:
        world: scores the programs.
        config: settings of Stage 1.
        out: JSON-lines file; the card is written beside it as ``<name>.card.json``.
        console: where progress goes.

    Returns:
        The card: settings, counts, failure kinds, seconds, fitness and its correlations by terrain.
    """
    builder = CorpusBuilder(world, config)
    started = time.monotonic()
    columns = (
        TextColumn("programs kept"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("corpus", total=config.programs)
        try:
            for size in builder.run():
                progress.update(task, completed=size)
        except KeyboardInterrupt:
            console.print(f"interrupted: writing the {len(builder.kept)} programs found so far")
    write_corpus(out, builder.kept)
    card = _card(builder, time.monotonic() - started)
    out.with_suffix(".card.json").write_text(json.dumps(card, indent=2) + "\n")
    return card


def _card(builder: CorpusBuilder, seconds: float) -> dict:
    names = builder.config.terrains
    fitness = {t: sorted(p.fitness[t] for p in builder.kept) for t in names}
    return {
        "config": builder.config.model_dump(mode="json"),
        "programs": len(builder.kept),
        "tried": builder.tried,
        "left_out": builder.failures,
        "seconds": round(seconds, 1),
        "fitness": {
            t: {"mean": round(sum(v) / len(v), 2), "p95": v[int(0.95 * len(v))], "best": v[-1]}
            for t, v in fitness.items()
        },
        "correlations": {
            a: {b: round(float(c), 3) for b, c in zip(names, row, strict=True)}
            for a, row in zip(names, builder.correlations(), strict=True)
        },
    }
