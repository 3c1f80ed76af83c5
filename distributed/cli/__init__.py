"""The command ``terraprompt``: one module a command, each of which imports what it needs only when it runs."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from distributed.infra.signals import exit_status


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 when all went well, 2 for a mistake of the user's, said in one line on stderr.

    Args:
        arguments: the command's name and what follows it; those of this process for None.
    """
    try:
        from distributed.cli.commands import run  # here, as it takes a second, in which Ctrl-C may come
    except KeyboardInterrupt:
        raise SystemExit(exit_status(signal.SIGINT)) from None
    run(arguments)
