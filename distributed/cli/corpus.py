"""``terraprompt corpus``: its options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from distributed.config.section import LARGEST_SEED
from distributed.config.unsupported import check_terrain_names
from distributed.errors import UserError


def corpus(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="JSON-lines file to write; its card and its log lie beside it.")
    ] = Path("data/corpus.jsonl"),
    programs: Annotated[
        int, typer.Option(min=1, help="Programs of the corpus, at most; those nearest to their kind's best come first.")
    ] = 50_000,
    evaluations: Annotated[
        int, typer.Option(min=1, help="Programs to evaluate in all, each on every terrain.")
    ] = 120_000,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Terrains, separated by commas, that share an archive; can be given again.",
            show_default="left_wall, right_wall, tunnel and bumpy, an archive each",
        ),
    ] = None,
    keep_above: Annotated[
        float, typer.Option(min=0, max=1, help="Keep programs that reach this share of the best of their kind.")
    ] = 0.5,
    max_numbers: Annotated[
        int,
        typer.Option(min=10, help="Leave out programs with more numbers in them; each comes with about two tokens."),
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of every draw.")] = 0,
    use_ray: Annotated[
        bool, typer.Option("--ray/--no-ray", help="Evaluate in Ray tasks, or on threads of this process.")
    ] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an interrupted run, do not go on with it.")] = False,
) -> None:
    """Stage 1: evolve programs with MAP-Elites, and keep those near the best of their kind.

    The first programs are drawn at random in ten styles; later ones are mutated elites. A kind is a cell of a walker's
    height, width and mass, and every group of terrains has an archive with the best of each kind.

    Each line of the file is a program with its fitness on every terrain, the size of its walker, its kind, its parents
    and what was done to them.

    Ctrl-C writes the programs found so far. The same command goes on where a run ended, however it did, and more
    --evaluations make a finished corpus larger. RAY_ADDRESS names a cluster.
    """
    groups = groups_of(group or ())
    check_terrain_names([name for names in groups for name in names], "--group")
    # Evolving and Ray take seconds to import.
    from distributed.jobs.corpus.run import run_corpus
    from terrains.sodarace.map_elites.archive import NicheConfig
    from terrains.sodarace.map_elites.corpus import CorpusConfig

    config = CorpusConfig(
        programs=programs,
        evaluations=evaluations,
        niches=NicheConfig(keep_above=keep_above),
        max_numbers=max_numbers,
        seed=seed,
        **({"groups": groups} if groups else {}),
    )
    raise typer.Exit(run_corpus(config, out, use_ray, fresh))


def groups_of(options: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of terrains from the values of --group: names behind commas, those between parameters not among them.

    Raises:
        UserError: a group without a name.
    """
    groups = tuple(
        tuple(name.strip() for name in re.split(r",(?![^(]*\))", group) if name.strip()) for group in options
    )
    if () in groups:
        raise UserError("--group: needs a terrain's name, or several separated by commas")
    return groups
