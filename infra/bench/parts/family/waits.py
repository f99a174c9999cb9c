"""Which residuals the base model waited for, by the timeline of a job."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

#: What timelines call a wait for a residual that no ControlNet had computed and sent yet.
WAIT = "wait for residuals"


def wait_figures(job: Mapping[str, Any], residuals: int, steps: int) -> dict[str, float]:
    """By residual, in the order in which a step needs them, the share of the ``steps`` that waited for it.

    And the seconds for which a step waited for the first one and for all others.
    """
    times: Counter[int] = Counter()
    seconds: Counter[int] = Counter()
    for span in job["timeline"]:
        if span["name"] == WAIT:
            times[span["residual"]] += 1
            seconds[span["residual"]] += span["end_s"] - span["start_s"]
    return {
        **{f"wait_share_{i}": times[i] / steps for i in range(residuals)},
        "first_wait_s": seconds[0] / steps,
        "later_waits_s": (seconds.total() - seconds[0]) / steps,
    }
