"""``terraprompt pretrain``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distributed.config.section import LARGEST_SEED


def pretrain(
    corpus: Annotated[Path, typer.Option(metavar="FILE", help="What `terraprompt corpus` wrote.")] = Path(
        "data/corpus.jsonl"
    ),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the language model.")] = Path("data/lm"),
    preset: Annotated[
        str,
        typer.Option(metavar="NAME", help="tiny (1.9M parameters, as shipped), small (11M) or base (85M, for a GPU)."),
    ] = "tiny",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps.", show_default="those of the preset")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(min=0, help="Peak learning rate.", show_default="that of the preset")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Programs a step.", show_default="that of the preset")
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Parts that a batch is read in, so that it fits the memory: fewer are faster.",
            show_default="that of the preset",
        ),
    ] = None,
    visits: Annotated[
        int | None, typer.Option(min=1, help="Steps that a prefix is tuned for.", show_default="those of the preset")
    ] = None,
    none: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of steps without any prefix.", show_default="that of the preset"),
    ] = None,
    hints: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Put tokens of a related text before some programs: relative (parent, child or sibling), neighbour "
            "(nearest in height, width and mass) or descriptors (these in words).",
        ),
    ] = None,
    hinted: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of steps behind hints.", show_default="half of those that tune"),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on from this model, trained before on the same corpus.")
    ] = None,
    above: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Train on programs that reach this share of their niche's best; ELM took 0.5 and 0.8."
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the split, the weights, the order and the prefixes.")
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget an interrupted training, do not go on with it.")
    ] = False,
) -> None:
    """Stage 2: train a small language model on a corpus, ready for soft prompts, and measure it.

    Every 500 steps it says what held-out programs cost, and how many programs of the model are valid and unique.
    Ctrl-C keeps what was learnt; the same command goes on from there.
    """
    # torch takes seconds to import.
    from distributed.jobs.pretrain_options import PretrainOptions, pretrain_with

    options = PretrainOptions(
        corpus=corpus,
        out=out,
        preset=preset,
        settings={"steps": steps, "lr": lr, "batch_size": batch_size, "accumulate": accumulate},
        prefixes={"visits": visits, "none": none},
        hints=hints,
        hinted=hinted,
        start=start,
        above=above,
        seed=seed,
        fresh=fresh,
    )
    raise typer.Exit(pretrain_with(options))
