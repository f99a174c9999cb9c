"""What the names of weights in a file tell of the model."""

from collections.abc import Sequence


def contains_any(names: Sequence[str], substrings: tuple[str, ...]) -> bool:
    """Whether one of the names contains one of the ``substrings``."""
    return any(substring in name for name in names for substring in substrings)


def contains_each(names: Sequence[str], substrings: tuple[str, ...]) -> bool:
    """Whether each of the ``substrings`` is in one of the names."""
    return all(contains_any(names, (substring,)) for substring in substrings)


def has_prefix(names: Sequence[str], prefixes: tuple[str, ...]) -> bool:
    """Whether one of the names begins with one of the ``prefixes``."""
    return any(name.startswith(prefixes) for name in names)
