"""What all sections of the configuration have in common."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

UNUSED = "unused"

LARGEST_SEED = 2**63 - 1
"""What every generator of random numbers takes as a seed; the time in nanoseconds is one."""


def expanded(text: str) -> str:
    """Returns a path with ``${NAME}`` replaced by that variable of the environment, and a leading ``~`` by the home.

    Raises:
        ValueError: there is no such variable.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ValueError(f"the environment has no variable {match[1]!r}, which {match[0]} asks for")
        return os.environ[match[1]]

    return os.path.expanduser(re.sub(r"\$\{([^{}]*)\}", value, text))


PathText = Annotated[str, AfterValidator(expanded)]
"""A path, or something that may be one: ``${NAME}`` and a leading ``~`` are expanded when it is read."""


class Section(BaseModel):
    """A frozen group of settings. A setting that it does not have is an error, and every setting is documented."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )


class Arguments(Section):
    """Arguments for something else, where null means not given: such arguments are left out when they are written."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


def unused(default: Any = None, *, factory: Any = None) -> Any:
    """Declares a setting that only trlx reads: accepted so that its files load, and named in the log when it is set."""
    marked: dict[str, Any] = {UNUSED: True}
    if factory is not None:
        return Field(default_factory=factory, json_schema_extra=marked)
    return Field(default, json_schema_extra=marked)


def is_unused(section: type[BaseModel], name: str) -> bool:
    """Whether a setting was declared with :func:`unused`."""
    extra = section.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get(UNUSED))
