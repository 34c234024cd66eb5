"""Exceptions whose message tells the user how to fix the problem.

The command line prints each of them as one line without a traceback: what was got, what was expected, what to do next.
Any other exception that escapes is a bug, and its traceback is shown.
"""

from __future__ import annotations


class UserError(Exception):
    """A problem that the user can fix: one line with got, expected and what to do (exit code 1)."""


class UsageError(UserError, ValueError):
    """The command, a config or a trajectory is wrong, whatever the clips are (exit code 2)."""


class ClipError(UserError):
    """One clip cannot be processed; it is recorded in the manifest and the others continue."""


class MissingWeightsError(UserError):
    """A checkpoint that the chosen backend needs is missing, damaged or of another model."""
