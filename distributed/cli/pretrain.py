"""``terraprompt pretrain``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distributed.config.section import LARGEST_SEED
from distributed.errors import UserError, did_you_mean


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
    import json

    from pydantic import ValidationError
    from rich.console import Console

    from distributed.jobs.pretrain import pretrain as run
    from distributed.jobs.pretrain_hints import build_hints, check_hints, hinted_share
    from softprompt.pretrain.config import PRESETS
    from softprompt.pretrain.config import preset as settings_of_preset
    from softprompt.pretrain.prefixes import PrefixConfig
    from terrains.sodarace.map_elites.corpus import above as filtered
    from terrains.sodarace.map_elites.corpus import read_corpus
    from terrains.sodarace.world import SodaraceWorld, WorldConfig

    check_hints(hints, hinted)
    if preset not in PRESETS:
        raise UserError(f"--preset: there is no {preset}{did_you_mean(preset, PRESETS)}")
    try:
        programs = filtered(read_corpus(corpus), above)
    except ValueError as error:
        raise UserError(f"--corpus: {error}") from None
    if not programs:
        raise UserError(f"--above: no program of {corpus} reaches {above} of its niche's best")
    card_file = corpus.with_suffix(".card.json")
    corpus_card = json.loads(card_file.read_text()) if card_file.exists() else {}
    corpus_card |= {"trained_on_above": above} if above else {}
    corpus_card |= {"hints": hints} if hints else {}
    told = build_hints(hints, programs, seed)
    asked = {"steps": steps, "lr": lr, "batch_size": batch_size, "accumulate": accumulate}
    given = {name: value for name, value in asked.items() if value}
    prefixes = {name: value for name, value in {"visits": visits, "none": none}.items() if value is not None}
    try:
        share = {"hinted": hinted_share(PrefixConfig(**prefixes), hinted)} if hints else {}
        config = settings_of_preset(preset, seed=seed, prefixes=PrefixConfig(**prefixes, **share), **given)
    except ValidationError as error:
        raise UserError(f"{error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if start is not None and not (start / "card.json").exists():
        raise UserError(f"--start: there is no model with a card in {str(start)!r}")
    world = SodaraceWorld(WorldConfig(threads=0))
    console = Console()
    try:
        texts, terrains = [p.program for p in programs], list(programs[0].fitness)
        status = run(texts, corpus_card, world, terrains, config, out, console, start, fresh, told)
    except ValueError as error:
        raise UserError(str(error)) from None
    finally:
        world.close()
    if not status:
        console.print(f"the model and its card lie in {out}", highlight=False, soft_wrap=True)
    raise typer.Exit(status)
