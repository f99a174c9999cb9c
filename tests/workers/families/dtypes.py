"""Types of numbers that tiny models compute in, and which of some options each of them is tested with."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

DTYPES = ("float32", "bfloat16")


def in_turn(dtype: str, options: Sequence[T], number: int) -> T:
    """One of the options for case ``number``, and the next one in the other type of numbers.

    So each case meets both types and, of two options, both; each option meets both types in the course of
    as many cases as there are options.
    """
    assert len(options) >= len(DTYPES)
    return options[(number + DTYPES.index(dtype)) % len(options)]
