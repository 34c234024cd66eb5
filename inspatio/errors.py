"""What can go wrong in a way the user can mend.

Every class here is printed as one line, without a traceback: what was got, what was expected, what
to do next. Anything else that escapes is a bug, and its traceback is wanted.
"""

from __future__ import annotations


class UserError(Exception):
    """A condition the user can mend: one line with got, expected and what to do (exit code 1)."""


class UsageError(UserError, ValueError):
    """The command, a config or a trajectory is wrong, whatever the clips are (exit code 2)."""


class ClipError(UserError):
    """One clip cannot be processed; it is recorded in the manifest and the others go on."""


class MissingWeightsError(UserError):
    """A checkpoint that the chosen backend needs is not there, or is not the one it needs."""
