"""The words the model knows."""

import itertools

import pytest

from infra.emoji.training.data.subjects import COLOUR_NAMES, NAMES, TEMPLATES, caption


@pytest.mark.parametrize(
    ("subject", "colour", "expected"),
    [
        ("octopus", "orange", "an octopus on an orange background"),
        ("cat", "orange", "a cat on an orange background"),
        ("unicorn", "blue", "an unicorn on a blue background"),  # by letter, as it was trained
    ],
)
def test_a_caption_says_an_before_a_vowel(subject: str, colour: str, expected: str) -> None:
    assert caption(subject, colour) == expected


def test_no_two_captions_are_the_same() -> None:
    choices = itertools.product(NAMES, COLOUR_NAMES, range(len(TEMPLATES)))
    captions = [caption(*choice) for choice in choices]
    assert len(set(captions)) == len(captions) == 72 * 12 * 6
