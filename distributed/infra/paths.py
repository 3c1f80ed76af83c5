"""Where a run's files are kept: in the working directory, or below TERRAPROMPT_HOME, as inside a Ray job."""

from __future__ import annotations

import os
from pathlib import Path

from distributed.errors import UserError, did_you_mean
from terrains.loading import expanded

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable that Ray sets in the driver of a job."""

HOME_VARIABLE = "TERRAPROMPT_HOME"
"""Names the directory below which a job keeps its runs and records; ``~/terraprompt`` without it."""


def in_ray_job() -> bool:
    """Whether this process is the driver of a Ray job."""
    return JOB_VARIABLE in os.environ


def check_here() -> None:
    """Makes sure that there is a current directory.

    Raises:
        UserError: it was removed.
    """
    try:
        Path.cwd()
    except OSError:
        raise UserError("the current directory is not there any more; go to another one") from None


def lasting(path: str | Path) -> Path:
    """Returns the absolute path of a file or directory that must outlive the process.

    A job that was submitted with a working directory runs in a copy of it that Ray deletes, so there a relative path is
    taken from TERRAPROMPT_HOME.

    Args:
        path: as it is written in the configuration.
    """
    path = expanded(path)
    if path.is_absolute():
        return path
    home = os.environ.get(HOME_VARIABLE) or ("~/terraprompt" if in_ray_job() else "")
    return expanded(home).absolute() / path


def existing(given: Path) -> Path:
    """The absolute path of what is to be resumed, which may be given as a Ray job would write it.

    Raises:
        UserError: there is nothing; the message names what is most like it.
    """
    for path in (expanded(given), lasting(given)):
        if path.exists():
            return path.absolute()
    parent = expanded(given).absolute().parent
    beside = [each.name for each in parent.iterdir()] if parent.is_dir() else []
    raise UserError(f"--resume: there is no {str(given)!r}{did_you_mean(given.name, beside)}")
