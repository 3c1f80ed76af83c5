"""Training soft prompts on Ray: configuration, rollouts, learner, tracking, checkpoints and the command line."""

from __future__ import annotations

import os
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


# Before torch is imported, in the driver as in every worker: OpenMP threads that spin while they wait take the cores
# from the other processes of the machine, and with them most of the speed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if message := dask_clash():
    warnings.warn(message, stacklevel=2)
