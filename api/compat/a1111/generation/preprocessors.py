"""Names and thresholds of sd-webui-controlnet's preprocessors ("modules"), and what they mean here."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from shared.catalog.preprocessors import NONE, PREPROCESSORS

#: The options that ``threshold_a`` and ``threshold_b`` set.
THRESHOLDS: Mapping[str, tuple[str, ...]] = {
    "canny": ("low_threshold", "high_threshold"),
    "scribble_xdog": ("threshold",),
    "tile_resample": ("down_sampling_rate",),
    "blur_gaussian": ("sigma",),
    "threshold": ("threshold",),
}
#: What a preprocessor has no such option for; also a request's way to ask for the default.
UNSET = -1


class ReadOptions(NamedTuple):
    """Options of a preprocessor, and the thresholds that it does not take."""

    options: dict[str, Any]
    refused: list[str]


def find_preprocessor(module: str | None) -> str:
    """The name here; what is in brackets behind it, as the web page shows it, is cut off.

    A name that is not known stays as it is.
    """
    name = (module or NONE).partition(" (")[0].strip()
    return name.lower() if name.lower() in PREPROCESSORS else name


def read_thresholds(preprocessor: str, first: float, second: float) -> ReadOptions:
    """The options that a unit's thresholds mean; one out of bounds is left at its default, as there."""
    asked = {
        name: int(value) if float(value).is_integer() else value
        for name, value in zip(THRESHOLDS.get(preprocessor, ()), (first, second), strict=False)
        if value != UNSET
    }
    if not asked or _is_valid(preprocessor, asked):  # one may be in bounds beside the other alone
        return ReadOptions(asked, [])
    options: dict[str, Any] = {}
    refused = []
    for field, name in zip(("threshold_a", "threshold_b"), THRESHOLDS.get(preprocessor, ()), strict=False):
        if name in asked and _is_valid(preprocessor, options | {name: asked[name]}):
            options[name] = asked[name]
        elif name in asked:
            refused.append(field)
    return ReadOptions(options, refused)


def thresholds_of(preprocessor: str, options: Mapping[str, Any]) -> tuple[float, float]:
    """``threshold_a`` and ``threshold_b`` of a job's preprocessor."""
    names = THRESHOLDS.get(preprocessor, ())
    values = [float(options.get(name, UNSET)) for name in names] + [UNSET, UNSET]
    return values[0], values[1]


def _is_valid(preprocessor: str, options: Mapping[str, Any]) -> bool:
    try:
        PREPROCESSORS[preprocessor].model_validate(options)
    except ValidationError:
        return False
    return True
