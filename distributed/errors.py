"""Mistakes of a user: one line that says what is wrong and what was probably meant."""

from __future__ import annotations

from terrains.errors import did_you_mean, nearest

__all__ = ["EXIT_CODE", "DivergedError", "UserError", "did_you_mean", "nearest"]

EXIT_CODE = 2


class UserError(Exception):
    """Something that the user can put right. The message is one line; commands print it and exit with 2."""


class DivergedError(UserError):
    """A run whose numbers are no longer finite; the message names the terrain, the step and what to change."""
