"""Families and modes as error texts name them."""

from collections.abc import Iterable, Mapping

from shared.families.base import FamilyFacts, Mode
from shared.families.registry import families

#: What an error text calls a job of each mode.
MODE_WORDS: Mapping[Mode, str] = {"text": "texts alone", "image": "an image", "mask": "an image and a mask"}


def modes_in_words(modes: Iterable[Mode]) -> str:
    """Modes in a sentence."""
    return " or ".join(words for mode, words in MODE_WORDS.items() if mode in modes)


def takers_of(field: str) -> str:
    """The families that take a field, and the verb."""
    return takers(facts for facts in families() if field in facts.fields)


def takers(families: Iterable[FamilyFacts]) -> str:
    """Families as the subject of a sentence, and the verb "take"."""
    names = labels(families)
    return f"{names} take{'' if ' and ' in names else 's'}"


def labels(families: Iterable[FamilyFacts]) -> str:
    """Families in a sentence."""
    *others, last = dict.fromkeys(facts.label for facts in families)
    return f"{', '.join(others)} and {last}" if others else last
