"""Thresholds of ControlNet units, and the options that they mean."""

from typing import Any

import pytest

from api.compat.a1111.generation.preprocessors import UNSET, read_thresholds


@pytest.mark.parametrize(
    ("sent", "options", "refused"),
    [
        ((220, 250), {"low_threshold": 220, "high_threshold": 250}, []),  # the low one is over a default
        ((10.0, 20), {"low_threshold": 10, "high_threshold": 20}, []),
        ((220, UNSET), {}, ["threshold_a"]),
        ((UNSET, 50), {}, ["threshold_b"]),
        ((50, 900), {"low_threshold": 50}, ["threshold_b"]),
        ((900, 150), {"high_threshold": 150}, ["threshold_a"]),
        ((UNSET, UNSET), {}, []),
    ],
)
def test_thresholds_of_canny_are_judged_together_first(
    sent: tuple[float, float], options: dict[str, Any], refused: list[str]
) -> None:
    assert read_thresholds("canny", *sent) == (options, refused)
