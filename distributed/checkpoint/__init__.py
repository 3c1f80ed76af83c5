"""Checkpoints of nested states, as safetensors and JSON.

Promises: a checkpoint is whole or not there, also after a kill or on a full disk; what is loaded equals what was saved,
bit for bit; a file that has changed since is an error that names it.
"""

from distributed.checkpoint.manager import (
    Checkpoint,
    CheckpointError,
    best,
    latest,
    load_checkpoint,
    save_checkpoint,
    steps,
)

__all__ = ["Checkpoint", "CheckpointError", "best", "latest", "load_checkpoint", "save_checkpoint", "steps"]
