"""Measures of how similar two images are. Images are ``(64, 64, 3)``, 0 to 1."""

import numpy as np

from infra.emoji.training.data.canvas import SIDE_PX
from infra.emoji.training.data.colour_maps import cells
from infra.emoji.training.data.edge_maps import edge_map
from infra.emoji.training.data.emoji_sets import Floats

LUMA = np.asarray((0.299, 0.587, 0.114), np.float32)
SSIM_WINDOW_PX = 7


def psnr_db(image: Floats, reference: Floats) -> float:
    """Peak signal to noise ratio; at most 100 dB, for equal images."""
    return float(-10 * np.log10(max(np.mean((image - reference) ** 2), 1e-10)))


def ssim(image: Floats, reference: Floats) -> float:
    """Structural similarity of brightness (Wang et al. 2004), box window of 7 pixels; 1 is equal."""
    a, b = (np.asarray(side @ LUMA, np.float64) for side in (image, reference))
    mean_a, mean_b = _box(a), _box(b)
    variance_a, variance_b = _box(a * a) - mean_a**2, _box(b * b) - mean_b**2
    covariance = _box(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float((above / below).mean())


def edge_f1(image: Floats, wanted: Floats) -> float:
    """F1 of the image's edges against the ``wanted`` edge map, ``(64, 64)``, one pixel of tolerance."""
    found = edge_map(image)
    if not found.any() or not wanted.any():
        return 0.0
    precision = (found * _thickened(wanted)).sum() / found.sum()
    recall = (wanted * _thickened(found)).sum() / wanted.sum()
    return float(2 * precision * recall / max(precision + recall, 1e-6))


def colour_error(image: Floats, wanted: Floats) -> float:
    """Mean absolute difference of the 8 by 8 mean colours, of 1."""
    return float(np.abs(cells(image) - cells(wanted)).mean())


def thumbnail(image: Floats) -> Floats:
    """Half the size, ``(32, 32, 3)``: forgives a pixel when images are compared."""
    half = SIDE_PX // 2
    return np.asarray(image.reshape(half, 2, half, 2, 3).mean((1, 3)))


def _box(values: np.ndarray) -> np.ndarray:
    k = SSIM_WINDOW_PX
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    return np.asarray((sums[k:, k:] - sums[:-k, k:] - sums[k:, :-k] + sums[:-k, :-k]) / k**2)


def _thickened(edges: Floats) -> Floats:
    padded = np.pad(edges, 1)
    height, width = edges.shape
    shifts = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.asarray(np.max(shifts, axis=0))
