"""Which jobs a ControlNet worker serves."""

from workers.controlnet_serving.recent_jobs import SESSION_S, RecentJobs


class Time:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_job_without_steps_is_forgotten_and_no_longer_counts_long_before() -> None:
    time = Time()
    jobs = RecentJobs(time)
    jobs.note("ended", "edge")
    jobs.note("other", "depth")
    time.now_s += 1.0
    jobs.note("running", "edge")
    # Whoever waits for other jobs' steps does not wait for one that has sent none for a while
    assert jobs.count("edge", within_s=2.0) == 2
    assert jobs.count("edge", within_s=0.5) == 1
    # The fleet shows it for longer
    assert jobs.by_controlnet() == {"edge": ["ended", "running"], "depth": ["other"]}
    time.now_s += SESSION_S
    assert jobs.jobs() == []
