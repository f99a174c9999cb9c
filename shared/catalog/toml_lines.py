"""Finds the line of a value in a TOML text."""

import tomllib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


def line_of(text: str, keys: Sequence[str | int]) -> int:
    """The line, from 1, of the statement that defines a value; of the innermost table if it is missing.

    ``keys`` are the path to the value, whether the text writes it as tables, inline or dotted. The text must
    be valid TOML. Bisects over its prefixes: the value is defined on the line with which it first exists.
    """
    lines = text.split("\n")
    existing = _existing(tomllib.loads(text), keys)
    if not existing:
        return 1

    def is_defined(count: int) -> bool:
        for end in range(count, len(lines) + 1):  # a prefix may end inside a statement of several lines
            try:
                return _existing(tomllib.loads("\n".join(lines[:end])), existing) == existing
            except tomllib.TOMLDecodeError:
                continue
        return True

    return bisect_left(range(1, len(lines) + 1), True, key=is_defined) + 1


def _existing(value: Any, keys: Sequence[str | int]) -> list[str | int]:
    """The longest prefix of ``keys`` that exists in ``value``."""
    existing: list[str | int] = []
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            break
        existing.append(key)
    return existing
