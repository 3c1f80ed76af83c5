"""The command ``terraprompt``. Each command imports what it needs when it runs, so that --help comes at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml

from distributed.config import RunConfig
from distributed.config.listing import settings
from distributed.config.support import check_trainable
from distributed.config_io import load_config, with_settings
from distributed.errors import EXIT_CODE, UserError, did_you_mean
from distributed.places import lasting
from distributed.terrains_cli import app as terrains_app

app = typer.Typer(
    name="terraprompt",
    help="Tunes a soft prompt per terrain, so that a frozen language model writes Sodaracers which cross it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(terrains_app, name="terrains")

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", help="YAML file with the settings, such as configs/quickstart.yml."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SETTING=VALUE]...",
        help="Settings that come before those of the file, such as method.n_soft_tokens=8. "
        "`terraprompt settings` lists all.",
        show_default=False,
    ),
]


@app.callback()
def _commands() -> None:
    """Makes typer expect a command's name even while there is only one command."""


@app.command()
def train(
    config: ConfigFile,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Continue from this checkpoint, or from the latest one of this run's directory, as if the run had "
            "not stopped.",
        ),
    ] = None,
) -> None:
    """Train a soft prompt for each terrain.

    Writes a directory for the run, with checkpoints, a summary and a report, below train.checkpoint_dir, and records
    the run in MLflow. Ctrl-C ends a run in good order; --resume continues it.

    Inside a Ray job, whose working directory Ray deletes, relative paths of the run and of MLflow's database are taken
    from TERRAPROMPT_HOME, or from ~/terraprompt. MLFLOW_TRACKING_URI names another store.
    """
    settings_of_run = load_config(config, overrides or ())
    if settings_of_run.train.run_name is None:
        settings_of_run = with_settings(settings_of_run, {"train.run_name": config.stem})
    check_trainable(settings_of_run)
    if resume is not None and not resume.exists():
        given, resume = resume, lasting(resume)
        if not resume.exists():
            raise UserError(f"--resume: there is no {str(given)!r}")
    from distributed.train import run_training

    raise typer.Exit(run_training(settings_of_run, resume))


@app.command()
def search(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="YAML file, such as configs/search_quickstart.yml."),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on with the interrupted search of this directory; takes nothing else."),
    ] = None,
) -> None:
    """Search settings with a population of runs on Ray Tune.

    search.space says which settings differ between members, search.algorithm how they compete. Ends with the best
    member evaluated as a run of its own, which `terraprompt export` takes.
    """
    if (config is None) == (resume is None):
        raise UserError("search needs either --config FILE or --resume DIR")
    if resume is not None and overrides:
        raise UserError(f"--resume goes on with the search's own settings; leave {overrides[0]} out")
    # Tune's own imports take seconds.
    from distributed.search.run import run_search, settings_of

    if config is None:
        assert resume is not None
        raise typer.Exit(run_search(settings_of(resume), resume))
    settings_of_search = load_config(config, overrides or ())
    if settings_of_search.train.run_name is None:
        settings_of_search = with_settings(settings_of_search, {"train.run_name": config.stem})
    check_trainable(settings_of_search)
    raise typer.Exit(run_search(settings_of_search))


@app.command()
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
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
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
    # Evolving and Ray take seconds to import.
    from distributed.corpus_command import groups_of, run_corpus
    from terrains.sodarace.archive import NicheConfig
    from terrains.sodarace.corpus import CorpusConfig

    config = CorpusConfig(
        programs=programs,
        evaluations=evaluations,
        niches=NicheConfig(keep_above=keep_above),
        max_numbers=max_numbers,
        seed=seed,
        **({"groups": groups_of(group)} if group else {}),
    )
    raise typer.Exit(run_corpus(config, out, use_ray, fresh))


@app.command()
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
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split, the weights, the order and the prefixes.")] = 0,
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

    from distributed.hints import build_hints, check_hints, hinted_share
    from distributed.pretrain_command import pretrain as run
    from softprompt.prefixes import PrefixConfig
    from softprompt.pretrain_config import PRESETS
    from softprompt.pretrain_config import preset as settings_of_preset
    from terrains.sodarace.corpus import above as filtered
    from terrains.sodarace.corpus import read_corpus
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


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run or search, such as runs/NAME.")],
    terrain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Register only this terrain's prompt; can be given again.", show_default="all"
        ),
    ] = None,
    best_only: Annotated[
        bool, typer.Option("--best-only", help="Register only prompts that become or are their terrain's champion.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be registered, and write nothing.")
    ] = False,
) -> None:
    """Register a run's prompts in MLflow, one model softprompt.TERRAIN for each terrain.

    The alias champion moves where a prompt's evaluation is better than the present champion's.
    """
    from rich.console import Console

    from distributed.export_command import export_run

    export_run(run, terrain or (), best_only, dry_run, Console())


@app.command()
def write(
    terrain: Annotated[str, typer.Option(metavar="NAME", help="The terrain to write a walker for.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN|MODEL",
            help="Folder of a run, or the address of a registered model, models:/softprompt.NAME@champion.",
            show_default="the terrain's champion in MLflow",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed writes another program.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG of the walker.", show_default="NAME-seedSEED.png")
    ] = None,
) -> None:
    """Write a walker's program behind a prompt, print it, score it and draw it.

    The program goes to standard output; what it scores and where the picture lies, to standard error.
    """
    from rich.console import Console

    from distributed.write_command import write as run

    typer.echo(run(terrain, source, seed, picture, Console(stderr=True)))


@app.command()
def replay(
    programs: Annotated[
        list[str],
        typer.Argument(
            metavar="PROGRAM...",
            help="Files with a program, - for standard input, or folders of runs, whose best programs are shown.",
        ),
    ],
    terrain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The terrain to walk on; can be given again.",
            show_default="flat; each program of a run on its own terrain",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR|FILE",
            help="A folder for all three, or one file: .html is a page with a player, .gif or .apng moves, "
            ".png or .svg stands still.",
        ),
    ] = Path("replay"),
    seconds: Annotated[
        float | None,
        typer.Option(min=0.5, max=300, help="Simulated time.", show_default="20; that of the run for a run"),
    ] = None,
) -> None:
    """Show walkers crossing terrains: a page with a player, a moving picture and a still one.

    A program that is no valid walker is an error that names the kind of failure.
    """
    from rich.console import Console

    from distributed.replay_command import replay as run

    run(programs, terrain or (), out, seconds, Console(stderr=True))


@app.command(name="settings")
def list_settings(
    prefix: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A section, such as method, or a setting.", show_default=False)
    ] = "",
) -> None:
    """List the settings of a configuration file: their names, their defaults and what they mean."""
    every = list(settings(RunConfig))
    chosen = [each for each in every if not prefix or f"{each.name}.".startswith(f"{prefix}.")]
    if not chosen:
        names = [each.name for each in every] + list(RunConfig.model_fields)
        raise UserError(f"{prefix}: no such setting{did_you_mean(prefix, names)}")
    for each in chosen:
        typer.echo(f"{each.name} = {_as_yaml(RunConfig(), each.name)}")
        typer.echo(f"    {each.meaning}{' Only trlx reads it.' if each.unused else ''}")


def _as_yaml(config: RunConfig, name: str) -> str:
    """The value of a setting as it is written in a file, on one line."""
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    plain = list(value) if isinstance(value, tuple) else value
    if isinstance(plain, dict):
        plain = {key: list(each) for key, each in plain.items()}
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 when all went well, 2 for a mistake of the user's, said in one line on stderr.

    Args:
        arguments: the command's name and what follows it; those of this process for None.
    """
    try:
        app(None if arguments is None else list(arguments), prog_name="terraprompt")
    except UserError as error:
        print(f"terraprompt: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None


if __name__ == "__main__":
    main()
