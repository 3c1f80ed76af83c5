"""What a configuration can say and nothing can be trained on: found before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable

from distributed.config import RunConfig
from distributed.errors import UserError


def check_trainable(config: RunConfig) -> None:
    """Checks that a configuration asks for nothing that training does not do, and for terrains that there are.

    Such settings are read, so that trlx's files load and can be looked at; training on them would be a lie.

    Raises:
        UserError: it does; the message names the setting and says what to set instead.
    """
    check_terrain_names(config.terrains.names, "terrains.names")
    model, method = config.model, config.method
    if model.model_arch_type != "causal":
        raise UserError(f"model.model_arch_type: {model.model_arch_type} is not yet supported; set it to causal")
    if model.peft_config is not None:
        raise UserError("model.peft_config: adapters are not yet supported beside soft prompts; set it to null")
    if method.num_value_layers_unfrozen:
        raise UserError("method.num_value_layers_unfrozen: the value function is one head; set it to 0")


def check_terrain_names(names: Iterable[str], said_by: str) -> None:
    """Checks that terrains of such names can be, whatever the files hold that some are read from.

    It takes no compiler and no language model, so that a misspelt name is told at once.

    Args:
        names: names of terrains.
        said_by: the setting or option that they are from, for the message.

    Raises:
        UserError: there is no such family or parameter; the message names the nearest one.
    """
    from terrains.sodarace.ground.names import canonical_name

    try:
        for name in names:
            canonical_name(name)
    except ValueError as error:
        raise UserError(f"{said_by}: {error}" if said_by else str(error)) from None
