"""The end of a run: the summary, the prompts as files, the report, and what a person reads."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors.numpy import save_file

from distributed.infra.numbers import fitness_text
from distributed.infra.passwords import without_secrets
from distributed.infra.writing import told, whole_file
from distributed.observability.mlflow_store import shown
from distributed.report.figures import draw_different, draw_run
from distributed.report.page import write_report
from distributed.report.shows import Show
from distributed.report.shows import shown as with_scene
from distributed.results.best_programs import best_found, different_found
from distributed.results.run_folder import LAYERS, PROMPTS, SUMMARY
from distributed.results.summary import Summary, summarise, write_summary
from distributed.results.tables import summary_tables
from distributed.training.loop import TrainingLoop
from distributed.training.variety import FIGURES, bars
from softprompt.models.frozen import FrozenLM
from softprompt.prompts.ten_io import WEIGHTS_FILE as NETWORK
from softprompt.prompts.ten_io import save_network
from terrains.base import World
from terrains.optional import fitness_unit, units_of

WORDS = {PROMPTS: "prompts", NETWORK: "network", LAYERS: "layers"}
"""What a person reads of the files of trained tensors."""

PICTURE = "walkers.png"
"""Still picture of the best programs, where the world can draw them."""

SECONDS_PER_FRAME = 4 / 60
"""Time between two frames of the report's player."""


def finish(loop: TrainingLoop, lm: FrozenLM, world: World, directory: Path, console: Console) -> Summary:
    """Writes ``summary.json``, ``prompts.safetensors`` and ``report.html``, records them, and prints the tables.

    Args:
        loop: a loop that is done.
        lm: the language model it used.
        world: what the programs were scored by, and are drawn by where it can.
        directory: the run's directory.
        console: where the tables go.

    Returns:
        The summary.
    """
    summary = _summary(loop, lm, world)
    write_summary(directory / SUMMARY, summary)
    trained = _save_trained(loop, directory)
    assert loop.untuned is not None
    found = best_found(loop.terrains, loop.untuned, loop.tuned)
    walkers = [with_scene(world, each, SECONDS_PER_FRAME) for each in found]
    meta = {
        "title": directory.name,
        "language model": loop.config.model.model_path,
        "soft tokens": loop.prompts.shape[1],
    }
    pictures = [directory / PICTURE] if any(each.moving for each in walkers) else []
    for picture in pictures:
        with whole_file(picture) as draft:
            _draw(loop, world, walkers, draft)
    report = write_report(directory / "report.html", summary, loop.history, walkers, meta)
    loop.tracker.log(_final_metrics(summary), loop.step)
    for path in (report, *pictures, directory / SUMMARY, *trained):
        loop.tracker.artifact(path)
    _say(loop, summary, directory, trained, console)
    if loop.config.tracking.register_prompts:
        # Imported here: MLflow's models take seconds to import.
        from distributed.jobs.export import register_prompts

        register_prompts(directory, console)
    return summary


def _draw(loop: TrainingLoop, world: World, walkers: Sequence[Show], picture: Path) -> None:
    """Draws the best walkers; of a run that is after many good ones, those that are unlike one another."""
    method, unit = loop.config.method, fitness_unit(world)
    shows: list[Show] = []
    assert loop.untuned is not None
    if method.prompts_per_terrain > 1 or method.pays_for_variety:
        found = different_found(loop.terrains, loop.tuned, loop.learner.niches, bars(loop.untuned))
        shows = [each for each in (with_scene(world, one, SECONDS_PER_FRAME) for one in found) if each.moving]
    if not shows:
        draw_run(walkers, picture, unit)
        return
    prompts = f"its {method.prompts_per_terrain} prompts" if method.prompts_per_terrain > 1 else "its prompt"
    heads = {}
    for name, best in zip(loop.terrains, np.asarray(loop.untuned["fitness"]).max(axis=0).tolist(), strict=True):
        n = sum(each.terrain == name for each in shows)
        said = "1 walker" if n == 1 else f"{n} different walkers"
        heads[name] = f"{name}: {said} behind {prompts}; the best untuned {fitness_text(best)}{unit}"
    draw_different(shows, picture, unit, heads)


def _save_trained(loop: TrainingLoop, directory: Path) -> list[Path]:
    """Writes the prompts and, where there are such, the network they come from and the layers trained beside them."""
    final, files = loop.final, [directory / PROMPTS]
    with whole_file(files[0]) as draft:
        save_file(_by_terrain(loop), draft)
    network = loop.learner.network(final)
    if network is not None:
        with told(directory / NETWORK):
            files += save_network(directory, network, loop.terrains)
    if final.state.layers is not None:
        files.append(directory / LAYERS)
        with whole_file(files[-1]) as draft:
            save_file(dict(final.state.layers.arrays), draft)
    return files


def _by_terrain(loop: TrainingLoop) -> dict[str, np.ndarray]:
    """The prompts by terrain: of one each, shape (n_soft_tokens, d); of several, (n, n_soft_tokens, d)."""
    several = loop.config.method.prompts_per_terrain
    shape = loop.prompts.shape[1:] if several == 1 else (several, *loop.prompts.shape[1:])
    own = np.split(loop.prompts, len(loop.terrains))
    return {name: each.reshape(shape) for name, each in zip(loop.terrains, own, strict=True)}


def _summary(loop: TrainingLoop, lm: FrozenLM, world: World) -> Summary:
    assert loop.untuned is not None
    return summarise(
        loop.config.train.seed,
        loop.rollouts,
        round(loop.seconds, 1),
        loop.terrains,
        loop.untuned["fitness"],
        loop.untuned["valid"],
        loop.warm,
        {name: t["fitness"] for name, t in loop.tuned.items()},
        {name: t["valid"] for name, t in loop.tuned.items()},
        {name: t["programs"] for name, t in loop.tuned.items()},
        rng_seed=loop.config.train.seed,
        bootstrap=loop.config.evaluation.bootstrap,
        config=without_secrets(loop.config.model_dump(mode="json", by_alias=True)),
        lm_hash=lm.hash,
        fingerprints={name: world.terrain(name).fingerprint for name in loop.terrains},
        losses=loop.pool.counters,
        versions={"python": platform.python_version(), **{p: version(p) for p in ("torch", "transformers", "ray")}},
        steps=loop.step,
        nearest=_nearest(loop),
        metrics=_measured(loop),
        units=_units(world),
        variety=_variety(loop),
        niches=loop.learner.niches,
        best_of_cells=_best_of_cells(loop),
    )


def _variety(loop: TrainingLoop) -> dict[str, dict[str, dict[str, float]]] | None:
    """How varied programs are before and after tuning; loops that were saved by older versions do not say."""
    untuned = (loop.untuned or {}).get("variety") or [{}] * len(loop.terrains)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for terrain, before in zip(loop.terrains, untuned, strict=True):
        said = {"untuned": before, "tuned": loop.tuned[terrain].get("variety", {})}
        figures = {when: {name: each[name] for name in FIGURES if name in each} for when, each in said.items()}
        found[terrain] = {when: each for when, each in figures.items() if each}
    return found if any(found.values()) else None


def _best_of_cells(loop: TrainingLoop) -> dict[str, dict[int, float]] | None:
    if loop.learner.niches is None:
        return None
    return {name: loop.tuned[name].get("variety", {}).get("best_of_cells", {}) for name in loop.terrains}


def _units(world: World) -> dict[str, str] | None:
    """What a world counts in; None for one that counts fitness alone, in the world units that pages speak of."""
    units = units_of(world)
    return None if units == {"fitness": "units"} else units


def _measured(loop: TrainingLoop) -> dict[str, dict[str, dict[str, float]]] | None:
    """What the world measured before and after tuning; loops that were saved by older versions have none."""
    untuned = (loop.untuned or {}).get("metrics", {})
    names = dict.fromkeys([*untuned, *(name for each in loop.tuned.values() for name in each.get("metrics", {}))])
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        for k, terrain in enumerate(loop.terrains):
            before = untuned[name][k] if name in untuned else None
            means = {"untuned": before, "tuned": loop.tuned[terrain].get("metrics", {}).get(name)}
            found.setdefault(name, {})[terrain] = {key: mean for key, mean in means.items() if mean is not None}
    return found or None


def _nearest(loop: TrainingLoop) -> dict[str, list[str]] | None:
    if not loop.config.method.measure_soft_embedding_drift:
        return None
    nearest = loop.learner.nearest_tokens(loop.prompts)
    several = len(nearest) // len(loop.terrains)
    own = {name: nearest[k * several : (k + 1) * several] for k, name in enumerate(loop.terrains)}
    return {name: [token for rows in each for token in rows] for name, each in own.items()}


def _final_metrics(summary: Summary) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, terrain in summary.terrains.items():
        for key, value in terrain.model_dump().items():
            if isinstance(value, int | float):
                metrics[f"final/{key}/{name}"] = float(value)
        for key, value in (summary.variety or {}).get(name, {}).get("tuned", {}).items():
            metrics[f"final/{key}/{name}"] = value
    return metrics


def _say(loop: TrainingLoop, summary: Summary, directory: Path, trained: list[Path], console: Console) -> None:
    console.print(*summary_tables(summary, console.width), sep="\n")
    counters = loop.pool.counters
    drawn = f", and its picture {PICTURE}" if (directory / PICTURE).exists() else ""
    lost = f"{counters['losses']} requests lost and sent again" if counters["losses"] else "no request lost"
    lines = [
        f"{loop.rollouts} programs sampled for training in {loop.seconds:.0f} s, {lost}; "
        f"torch {torch.__version__} on {lm_device(loop)}",
        f"report   {directory / 'report.html'}{drawn}",
        f"summary  {directory / SUMMARY}",
        *(f"{WORDS[path.name]:<8} {path}" for path in trained if path.name in WORDS),
    ]
    if (address := loop.tracker.address) is not None:
        public_address = shown(address)
        is_server = address.startswith("http")
        opened = public_address if is_server else f"mlflow ui --backend-store-uri {shlex.quote(public_address)}"
        lines.append(f"MLflow   {opened}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def lm_device(loop: TrainingLoop) -> str:
    """Name of the device that the learner worked on."""
    return str(loop.learner.lm.device)
