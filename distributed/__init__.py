"""Training soft prompts on Ray: configuration, rollouts, learner, tracking, checkpoints and the command line."""

from __future__ import annotations

import warnings
from importlib import metadata

DASK = "distributed"


def dask_clash() -> str | None:
    """Says what is wrong where Dask's distribution, whose package has this package's name, is installed too.

    Returns:
        One line, or None where it is not installed.
    """
    try:
        version = metadata.version(DASK)
    except metadata.PackageNotFoundError:
        return None
    return (
        f"Dask's package 'distributed' {version} is installed beside terraprompt's package of the same name, so one "
        "hides the other and Dask's cluster does not work here: give terraprompt an environment of its own"
    )


if message := dask_clash():
    warnings.warn(message, stacklevel=2)
