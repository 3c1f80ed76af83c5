"""What all settings of this package have in common, and how a mistake in them is put into one line."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from terrains.errors import did_you_mean, one_line


class Settings(BaseModel):
    """A frozen group of settings. One that it does not have is an error, and every one is documented."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Returns the first of pydantic's errors in one line that names the setting, and the nearest one there is."""
    # A misspelt name comes first: what is missing is often what it was to be.
    first = next((each for each in error.errors() if each["type"] == "extra_forbidden"), error.errors()[0])
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) or "none"
        return f"{name}: no such setting{did_you_mean(name, model.model_fields)} (there are: {known})"
    if first["type"] == "missing":
        return f"{name}: has to be given"
    said = first["msg"].removeprefix("Value error, ")
    return one_line(f"{name}: {said}, not {first['input']!r}" if name else said)
