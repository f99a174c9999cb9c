"""Computes control maps, by the preprocessors of `shared.catalog.preprocessors`.

Each takes the image's bytes, ``(h, w, 3)``, and returns the control map's of the same shape. Only the first
control map of a process loads this module: OpenCV and numpy take tens of megabytes.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
_WHITE = 255


def compute_control_map(image: Image.Image, preprocessor: str, options: Mapping[str, Any]) -> bytes:
    """The control map of an RGB ``image``, as PNG of the same size."""
    pixels = _FUNCTIONS[preprocessor](np.asarray(image.convert("RGB")), **options)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def canny(image: Pixels, *, low_threshold: int, high_threshold: int) -> Pixels:
    """Edges, by the strongest channel of each pixel."""
    return _grey(cv2.Canny(np.ascontiguousarray(image), low_threshold, high_threshold))


def lineart_standard(image: Pixels, *, gaussian_sigma: float, intensity_threshold: int) -> Pixels:
    """How much darker a pixel is than its surroundings, scaled so that the median line is mid grey."""
    floats = image.astype(np.float32)
    darker = (_blurred(floats, gaussian_sigma) - floats).min(axis=2).clip(0, _WHITE)
    lines = darker[darker > intensity_threshold]
    middle = max(16.0, float(np.median(lines))) if lines.size else 16.0
    return _grey(_bytes(darker / middle * 127))


def scribble_xdog(image: Pixels, *, threshold: int) -> Pixels:
    """White where every channel is darker than around it by ``threshold``."""
    floats = image.astype(np.float32)
    darker = (_blurred(floats, 5.0) - _blurred(floats, 0.5)).min(axis=2)
    return _grey(np.where(2 * _bytes(darker).astype(int) > threshold, _WHITE, 0).astype(np.uint8))


def tile_resample(image: Pixels, *, down_sampling_rate: float) -> Pixels:
    """Downsampled by averaging and upsampled by interpolation."""
    height, width = image.shape[:2]
    small = max(1, round(width / down_sampling_rate)), max(1, round(height / down_sampling_rate))
    averaged = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(averaged, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def blur_gaussian(image: Pixels, *, sigma: float) -> Pixels:
    """Blurred by a Gaussian of ``sigma`` pixels."""
    return _bytes(_blurred(image.astype(np.float32), sigma))


def invert(image: Pixels) -> Pixels:
    """Inverted: black lines on white become white on black, as ControlNets are trained."""
    return np.asarray(_WHITE - image, np.uint8)


def threshold(image: Pixels, *, threshold: int) -> Pixels:
    """White where every channel is above ``threshold``, else black."""
    return _grey(np.where(image.min(axis=2) > threshold, _WHITE, 0).astype(np.uint8))


_FUNCTIONS: dict[str, Callable[..., Pixels]] = {
    function.__name__: function
    for function in (canny, lineart_standard, scribble_xdog, tile_resample, blur_gaussian, invert, threshold)
}


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _bytes(values: NDArray[Any]) -> Pixels:
    return np.asarray(values.clip(0, _WHITE), np.uint8)


def _grey(values: Any) -> Pixels:
    """One channel as three equal ones."""
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)
