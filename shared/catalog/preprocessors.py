"""Preprocessors and their options: each turns an image into a control image.

Only those that need no model. Names and defaults are those of sd-webui-controlnet and controlnet_aux; options
of OpenCV's functions have OpenCV's names. `shared.control_images.preprocessors` computes them.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from shared.message_base import Finite, StrictMessage
from shared.validation_messages import did_you_mean

NONE = "none"


class NoPreprocessor(StrictMessage):
    """The image itself is the control image."""


class Canny(StrictMessage):
    """White edges on black (Canny 1986, ``cv2.Canny``)."""

    low_threshold: int = Field(100, ge=0, le=255)
    high_threshold: int = Field(200, ge=0, le=255)

    @model_validator(mode="after")
    def _are_in_order(self) -> Self:
        if self.low_threshold > self.high_threshold:
            raise ValueError("low_threshold must not exceed high_threshold")
        return self


class LineartStandard(StrictMessage):
    """Dark lines of a light image as white on black, by how much darker they are than their surroundings."""

    gaussian_sigma: Finite = Field(6.0, gt=0, le=64)
    intensity_threshold: int = Field(8, ge=0, le=255)


class ScribbleXdog(StrictMessage):
    """Strokes as white on black, by a thresholded difference of Gaussians."""

    threshold: int = Field(32, ge=1, le=255)


class TileResample(StrictMessage):
    """The image without fine details: scaled down and up again."""

    down_sampling_rate: Finite = Field(2.0, ge=1, le=16)


class BlurGaussian(StrictMessage):
    """The image, blurred by a Gaussian."""

    sigma: Finite = Field(9.0, gt=0, le=64)


class Invert(StrictMessage):
    """The colours inverted: black lines on white become the white lines on black that ControlNets expect."""


class Threshold(StrictMessage):
    """White where a pixel's darkest channel is lighter than the threshold, else black."""

    threshold: int = Field(127, ge=0, le=255)


PREPROCESSORS: dict[str, type[StrictMessage]] = {
    NONE: NoPreprocessor,
    "canny": Canny,
    "lineart_standard": LineartStandard,
    "scribble_xdog": ScribbleXdog,
    "tile_resample": TileResample,
    "blur_gaussian": BlurGaussian,
    "invert": Invert,
    "threshold": Threshold,
}


def check_name(name: str) -> str:
    """Return the name; raises `ValueError`, which lists what is available, if it is unknown."""
    if name not in PREPROCESSORS:
        hint, known = did_you_mean(name, PREPROCESSORS), ", ".join(PREPROCESSORS)
        raise ValueError(
            f"unknown preprocessor {name!r}{hint}; available are those that need no model: {known}"
        )
    return name


def fill_in(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a known preprocessor, with defaults added; raises `ValueError` that names the option."""
    kind = PREPROCESSORS[name]
    try:
        return kind.model_validate(options).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields) or "none"
            raise ValueError(f"{name} has no option {option!r}; it has: {known}") from None
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{option}: {message}" if option else message) from None
