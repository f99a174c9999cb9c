"""Checks names of a request against those that are known."""

from collections.abc import Iterable

from shared.errors import InvalidRequest
from shared.validation_messages import did_you_mean


def known_name(name: str, known: Iterable[str], what: str, *, field: str) -> str:
    """``name`` if it is known; raises `InvalidRequest` that lists those that are."""
    if name not in known:
        hint = did_you_mean(name, known)
        raise InvalidRequest(
            f"unknown {what} {name!r}{hint}; known are {listed(known) or 'none'}", field=field
        )
    return name


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names)
