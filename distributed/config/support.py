"""What trlx's format can say and this project cannot train yet."""

from __future__ import annotations

from distributed.config import RunConfig
from distributed.errors import UserError


def check_trainable(config: RunConfig) -> None:
    """Checks that a configuration asks for nothing that training does not do.

    Such settings are read, so that trlx's files load and can be looked at; training on them would be a lie.

    Raises:
        UserError: it does; the message names the setting and says what to set instead.
    """
    model, method = config.model, config.method
    if model.model_arch_type != "causal":
        raise UserError(f"model.model_arch_type: {model.model_arch_type} is not yet supported; set it to causal")
    if model.peft_config is not None:
        raise UserError("model.peft_config: adapters are not yet supported beside soft prompts; set it to null")
    if method.num_value_layers_unfrozen:
        raise UserError("method.num_value_layers_unfrozen: the value function is one head; set it to 0")
