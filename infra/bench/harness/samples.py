"""Numbers out of many samples."""

import math
from collections.abc import Sequence

import numpy as np


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that ``percent`` of all do not exceed (nearest rank): always one that was measured.

    Of fewer than a hundred samples the 99th percentile is therefore the largest. Raises `ValueError`
    if there is none.
    """
    if not samples:
        raise ValueError("no samples")
    rank = math.ceil(len(samples) * percent / 100)
    return sorted(samples)[max(rank, 1) - 1]


def median_interval(
    samples: Sequence[float], share: float = 0.95, *, resamples: int = 10_000
) -> tuple[float, float]:
    """A confidence interval of the samples' median, by a bootstrap; the same whenever the samples are."""
    resampled = np.random.default_rng(0).choice(np.asarray(samples), (resamples, len(samples)))
    low, high = np.quantile(np.median(resampled, axis=1), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
