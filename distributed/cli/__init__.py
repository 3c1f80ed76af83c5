"""The command ``terraprompt``. Each command imports what it needs when it runs, so that --help comes at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml

from distributed.cli.stages import corpus, pretrain
from distributed.cli.terrains import app as terrains_app
from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.load import load_config, with_settings
from distributed.config.section import LARGEST_SEED
from distributed.config.trlx_sweep import load_search
from distributed.config.unsupported import check_terrain_names, check_trainable
from distributed.errors import EXIT_CODE, UserError, did_you_mean
from distributed.infra.paths import existing

app = typer.Typer(
    name="terraprompt",
    help="Tunes a soft prompt per terrain, so that a frozen language model writes Sodaracers which cross it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(terrains_app, name="terrains")

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
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="YAML file with the settings, such as configs/quickstart.yml; --resume needs none.",
        ),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Continue from the latest checkpoint of this run's directory, as if the run had not stopped, or from "
            "this older one, as a branch in a directory of its own.",
        ),
    ] = None,
) -> None:
    """Train a soft prompt for each terrain.

    Writes a directory for the run, with checkpoints, a summary and a report, below train.checkpoint_dir, and records
    the run in MLflow. Ctrl-C ends a run in good order; --resume continues it. Then its length, its workers, and how it
    is evaluated, recorded and shown may change; any other setting that differs is refused.

    Inside a Ray job, whose working directory Ray deletes, relative paths of the run and of MLflow's database are taken
    from TERRAPROMPT_HOME, or from ~/terraprompt. MLFLOW_TRACKING_URI names another store.
    """
    if config is None and resume is None:
        raise UserError("train needs --config FILE, or --resume DIR to continue a run")
    if config is None:
        assert resume is not None
        from distributed.training.resume import settings_of

        settings_of_run = settings_of(resume, overrides or ())
    else:
        settings_of_run = load_config(config, overrides or ())
        if settings_of_run.train.run_name is None:
            settings_of_run = with_settings(settings_of_run, {"train.run_name": config.stem})
    check_trainable(settings_of_run)
    resume = existing(resume) if resume else None
    from distributed.jobs.train import run_training

    raise typer.Exit(run_training(settings_of_run, resume))


@app.command()
def search(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="YAML file, such as configs/search_quickstart.yml."),
    ] = None,
    overrides: Overrides = None,
    sweep: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A sweep of trlx's, which says what differs between the runs of --config."),
    ] = None,
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
    if sweep is not None and config is None:
        raise UserError("--sweep says what differs between runs; --config FILE says what they have in common")
    if resume is not None and overrides:
        raise UserError(f"--resume goes on with the search's own settings; leave {overrides[0]} out")
    if resume is not None:
        resume = existing(resume)
        from distributed.training.resume import command, is_search, is_training

        if is_training(resume) and not is_search(resume):
            raise UserError(f"--resume: {str(resume)!r} is no search but a run; go on with: {command('train', resume)}")
    if config is None:
        from distributed.search.run import run_search, settings_of

        assert resume is not None
        raise typer.Exit(run_search(settings_of(resume), resume))
    settings_of_search = load_search(config, sweep, overrides or ())
    if settings_of_search.train.run_name is None:
        settings_of_search = with_settings(settings_of_search, {"train.run_name": config.stem})
    check_trainable(settings_of_search)
    # Tune's own imports take seconds.
    from distributed.search.run import run_search

    raise typer.Exit(run_search(settings_of_search))


app.command()(corpus)
app.command()(pretrain)


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
    check_terrain_names(terrain or (), "--terrain")
    from rich.console import Console

    from distributed.jobs.export import export_run

    export_run(run, terrain or (), best_only, dry_run, Console())


@app.command()
def track(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or search, such as runs/NAME.")],
    uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Another store of MLflow.", show_default="the one of the run"),
    ] = None,
) -> None:
    """Send to MLflow what a run could not record, because the store did not answer.

    A run keeps that in untracked.jsonl in its folder. Resuming the run sends it too.
    """
    from rich.console import Console

    from distributed.jobs.track import send_untracked

    send_untracked(run, uri, Console())


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
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Another seed writes another program.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG of the walker.", show_default="NAME-seedSEED.png")
    ] = None,
) -> None:
    """Write a walker's program behind a prompt, print it, score it and draw it.

    The program goes to standard output; what it scores and where the picture lies, to standard error.
    """
    check_terrain_names([terrain], "--terrain")
    from rich.console import Console

    from distributed.jobs.write import write as run

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
    check_terrain_names(terrain or (), "--terrain")
    from rich.console import Console

    from distributed.jobs.replay import replay as run

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
