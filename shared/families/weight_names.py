"""What the names of weights in a file tell of the model."""

from collections.abc import Sequence


def has_word(names: Sequence[str], words: tuple[str, ...]) -> bool:
    """Whether one of the names contains one of the ``words``."""
    return any(word in name for name in names for word in words)


def has_all_words(names: Sequence[str], words: tuple[str, ...]) -> bool:
    """Whether each of the ``words`` is in one of the names."""
    return all(has_word(names, (word,)) for word in words)


def has_prefix(names: Sequence[str], prefixes: tuple[str, ...]) -> bool:
    """Whether one of the names begins with one of the ``prefixes``."""
    return any(name.startswith(prefixes) for name in names)
