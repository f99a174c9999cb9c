from shared.metrics import CONTROLNET_STEPS
from workers.runtime.activity.controlnet_step_counts import ControlNetStepCounts


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_steps_of_the_last_minute_are_counted_by_why_they_were_computed_here() -> None:
    served, requester = (CONTROLNET_STEPS.labels("counted", result) for result in ("served", "requester"))
    CONTROLNET_STEPS.labels("counted", "superseded").inc()  # computed by nobody
    served.inc(7)  # before this process counts
    clock = Clock()
    counts = ControlNetStepCounts(clock)
    assert counts.last_minute() == {}
    served.inc(2)
    requester.inc()
    clock.now_s += 2
    assert counts.last_minute() == {"counted": {"requester": 1, "served": 2}}
    for _ in range(31):
        clock.now_s += 2
        found = counts.last_minute()
    assert found == {}
