"""Soft prompts trained from Python, by a reward function or a world: what `terraprompt` the command does, as calls.

`train` has the arguments of ``trlx.train`` and returns a `Run`; `load_run` returns that of a finished run's directory.
Mistakes raise `UserError`, whose message is one line.
"""

from importlib.metadata import version as _version

from distributed.errors import UserError
from terraprompt.run import Run, load_run
from terraprompt.settings import default_config
from terraprompt.training import train

__version__ = _version("terraprompt")
__all__ = ["Run", "UserError", "__version__", "default_config", "load_run", "train"]
