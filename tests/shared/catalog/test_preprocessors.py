from typing import Any

import pytest
from pydantic import ValidationError

from api.schemas.job_request import ControlNetRequest
from shared.catalog.preprocessors import fill_in


def asked(**changes: Any) -> ControlNetRequest:
    return ControlNetRequest.model_validate({"name": "edge", "image": "", **changes})


def test_options_get_their_defaults() -> None:
    controlnet = asked(preprocessor="canny", preprocessor_options={"low_threshold": 50})
    assert controlnet.preprocessor_options == {"low_threshold": 50, "high_threshold": 200}
    assert asked(preprocessor="canny").preprocessor_options == fill_in("canny", {})
    assert asked().preprocessor_options == {}


@pytest.mark.parametrize("name", ["openpose", "depth_midas", "Canny", ""])
def test_an_unknown_preprocessor_is_refused_with_the_available_ones(name: str) -> None:
    with pytest.raises(ValidationError, match=r"available are .*no model: none, canny, ") as refused:
        asked(preprocessor=name, preprocessor_options={"anything": 1})
    assert [error["loc"] for error in refused.value.errors()] == [("preprocessor",)]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("canny", {"threshold": 3}, "canny has no option 'threshold'; it has: low_threshold, high_threshold"),
        ("canny", {"low_threshold": 300}, "low_threshold: .*less than or equal to 255"),
        ("canny", {"low_threshold": 201}, "low_threshold must not exceed high_threshold"),
        ("blur_gaussian", {"sigma": float("nan")}, "sigma: .*finite"),
        ("invert", {"strength": 1}, "invert has no option 'strength'; it has: none"),
        ("none", {"low_threshold": 1}, "none has no option 'low_threshold'"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(name: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected) as refused:
        asked(preprocessor=name, preprocessor_options=options)
    assert [error["loc"] for error in refused.value.errors()] == [("preprocessor_options",)]
