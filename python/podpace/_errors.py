"""Exceptions. Each has the text that the command line prints, and its exit code."""

from __future__ import annotations


class PodpaceError(Exception):
    """Anything that podpace refuses or can't do; ``str(error)`` is what the command line prints.

    Attributes:
        code: exit code of the command line for it.
    """

    code: int

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.code)


class InputError(PodpaceError, ValueError):
    """Bad input (exit code 2): file, line, field, value, what was expected, what to do."""


class RunError(PodpaceError, RuntimeError):
    """A failure while running (exit code 1): a full disk, a broken invariant."""


def of_code(code: int, message: str) -> PodpaceError:
    """The exception for an exit code of the command line."""
    return (InputError if code == 2 else RunError)(message, code)
