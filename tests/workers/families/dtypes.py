"""Types of numbers that tiny models compute in, and which of two options each of them is tested with."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

DTYPES = ("float32", "bfloat16")


def in_turn(dtype: str, options: Sequence[T], number: int) -> T:
    """One of two options for case ``number``, and the other one in the other type of numbers.

    So each case meets both options and both types, and each option both types.
    """
    assert len(options) == len(DTYPES)
    return options[(number + DTYPES.index(dtype)) % len(options)]
