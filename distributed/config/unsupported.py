"""Settings that can be read but not trained with, and terrains that do not exist: refused before heavy imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from distributed.config import RunConfig
from distributed.errors import UserError


def check_trainable(config: RunConfig) -> None:
    """Checks that training does all that a configuration asks for, and that its terrains exist.

    Settings of trlx that are not supported are read, so that its files load; training must not ignore them silently.

    Raises:
        UserError: it does; the message names the setting and says what to set instead.
    """
    check_terrain_names(config.terrains.names, "terrains.names", config.terrains.world)
    for problem in untrainable(config):
        raise UserError(problem)


def untrainable(config: RunConfig) -> Iterator[str]:
    """Yields, for each setting that can be read but not trained with, its name and what to set instead."""
    model, method = config.model, config.method
    if model.model_arch_type != "causal":
        yield (
            f"model.model_arch_type: {model.model_arch_type} is not yet supported; name a causal language model in "
            "model.model_path, and set it to causal"
        )
    if model.peft_config is not None:
        yield "model.peft_config: adapters are not yet supported beside soft prompts; set it to null"
    if method.num_value_layers_unfrozen:
        yield "method.num_value_layers_unfrozen: the value function is one head; set it to 0"


def check_terrain_names(names: Iterable[str], said_by: str, world: str = "sodarace") -> None:
    """Checks names of terrains; files that some are read from are not opened.

    It needs no compiler and no language model, so a misspelt name is reported at once.

    Args:
        names: names of terrains.
        said_by: the setting or option that they are from, for the message.
        world: whose terrains they are; of a world that would have to be imported, nothing is checked here.

    Raises:
        UserError: there is no such family or parameter; the message names the nearest one.
    """
    from terrains.registry import catalogue, is_light

    if not is_light(world):
        return
    try:
        for name in names:
            catalogue(world).canonical_name(name)
    except ValueError as error:
        raise UserError(f"{said_by}: {error}" if said_by else str(error)) from None
