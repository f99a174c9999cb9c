"""Preprocessors as sd-webui-controlnet lists its own: names, labels and sliders.

Source: Mikubill/sd-webui-controlnet, ``scripts/supported_preprocessor.py`` and ``scripts/preprocessor/``.
"""

from collections.abc import Mapping
from typing import Any

from api.compat.a1111.generation.preprocessors import THRESHOLDS
from shared.catalog.preprocessors import PREPROCESSORS

_FOR_DARK_LINES = "(from white bg & black line)"
#: Labels ("alias names") that differ from the name.
_LABELS = {
    "invert": f"invert {_FOR_DARK_LINES}",
    "lineart_standard": f"lineart_standard {_FOR_DARK_LINES}",
}
#: What the sliders for ``threshold_a`` and ``threshold_b`` are called.
_SLIDERS: Mapping[str, tuple[str, ...]] = {
    "canny": ("Low Threshold", "High Threshold"),
    "scribble_xdog": ("XDoG Threshold",),
    "tile_resample": ("Down Sampling Rate",),
    "blur_gaussian": ("Sigma",),
    "threshold": ("Binarization Threshold",),
}
#: Those that work at a resolution, the shorter side of what they compute; others keep the image's.
RESOLVED = frozenset({"canny", "scribble_xdog", "blur_gaussian", "threshold"})
DEFAULT_RESOLUTION, MIN_RESOLUTION, MAX_RESOLUTION = 512, 64, 2048
_RESOLUTION = {
    "name": "Resolution",
    "value": DEFAULT_RESOLUTION,
    "min": MIN_RESOLUTION,
    "max": MAX_RESOLUTION,
    "step": 8,
}


def label_of(preprocessor: str) -> str:
    """How the web page of A1111 calls it."""
    return _LABELS.get(preprocessor, preprocessor)


def module_details(*, with_labels: bool) -> dict[str, dict[str, Any]]:
    """Every preprocessor with its sliders, by its name or its label."""
    return {
        label_of(name) if with_labels else name: {"model_free": False, "sliders": _sliders(name)}
        for name in PREPROCESSORS
    }


def _sliders(preprocessor: str) -> list[dict[str, Any]]:
    options = PREPROCESSORS[preprocessor].model_json_schema().get("properties", {})
    labels = _SLIDERS.get(preprocessor, ())
    sliders = [_RESOLUTION] if preprocessor in RESOLVED else []
    for name, label in zip(THRESHOLDS.get(preprocessor, ()), labels, strict=True):
        option = options[name]
        step = 1 if option["type"] == "integer" else 0.01
        low = option["minimum"] if "minimum" in option else option["exclusiveMinimum"] + step
        sliders.append(
            {"name": label, "value": option["default"], "min": low, "max": option["maximum"], "step": step}
        )
    return sliders
