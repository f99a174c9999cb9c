"""Where something stands in a TOML text."""

import tomllib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


def line_of(text: str, keys: Sequence[str | int]) -> int:
    """The line, from 1, of the statement that defines a value; of the innermost table where it is missing.

    ``keys`` lead to the value from the top, however the text writes them: as tables, inline or dotted. The
    text must be TOML. Its beginnings are parsed: the value is defined where it first exists.
    """
    lines = text.split("\n")
    known = _known(tomllib.loads(text), keys)
    if not known:
        return 1

    def is_defined(count: int) -> bool:
        for end in range(count, len(lines) + 1):  # to the end of a statement of several lines
            try:
                return _known(tomllib.loads("\n".join(lines[:end])), known) == known
            except tomllib.TOMLDecodeError:
                continue
        return True

    return bisect_left(range(1, len(lines) + 1), True, key=is_defined) + 1


def _known(value: Any, keys: Sequence[str | int]) -> list[str | int]:
    """As many of the keys, from the first on, as lead somewhere."""
    known: list[str | int] = []
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            break
        known.append(key)
    return known
