"""Numbers out of many samples."""

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that ``percent`` of all do not exceed (nearest rank): always one that was measured.

    Of fewer than a hundred samples the 99th percentile is therefore the largest. Raises `ValueError`
    if there is none.
    """
    if not samples:
        raise ValueError("no samples")
    rank = math.ceil(len(samples) * percent / 100)
    return sorted(samples)[max(rank, 1) - 1]
