"""Warnings of an answer: what will be generated otherwise than its client may expect."""

from collections.abc import Callable

#: Takes a warning, a sentence for the client.
Warn = Callable[[str], None]


def ignore(warning: str) -> None:
    """For those who do not want to know."""
