"""When a job will be done, by what is before it: the fluid limit of fair queueing (Demers et al., 1989)."""

from collections.abc import Sequence
from typing import NamedTuple

from shared.scheduling.measured_times import Quantiles

#: What remains of a job that runs, on average.
HALF = 0.5


class TenantQueue(NamedTuple):
    """Held jobs of one tenant and one model."""

    weight: float
    jobs: int
    job_s: float  # device-seconds of one, the mean of the latest

    @property
    def held_s(self) -> float:
        """Device-seconds of all."""
        return self.jobs * self.job_s


class QueueState(NamedTuple):
    """What is before a job of one tenant and one model."""

    own: TenantQueue  # its tenant's jobs that come before it
    others: Sequence[TenantQueue]
    released: int  # messages that no worker has taken
    queued: int = 0  # of the tenant's jobs, of all models
    free: Sequence[str] = ()  # workers, of any model
    cap: int | None = None  # so many jobs of the tenant may be released at once, of all models
    running: int = 0  # so many are


class Workers(NamedTuple):
    """Live workers that take jobs of a model."""

    total: int
    busy: int


class Eta(NamedTuple):
    """Seconds from now until a job is done."""

    eta_s: float
    eta_p90_s: float
    raw_s: float  # before it was corrected by how long earlier jobs took
    kind: str  # `idle` or `queued`: estimates of a kind err alike


def wait_s(state: QueueState, workers: Workers, own_s: float) -> float:
    """Seconds until a worker begins the job, which takes ``own_s``; 0 while one is free for it.

    While the tenant's jobs up to this one are computed, each other tenant gets at most what is due to it by
    its weight, and no more than it holds. Nor does it begin before the tenant is below its cap.
    """
    is_free = workers.busy < workers.total and not _cap_wait_s(state)
    if is_free and not (state.released or state.own.jobs or state.others):
        return 0.0
    before_s = state.own.held_s
    due = (before_s + own_s) / state.own.weight
    others_s = sum(min(other.held_s, due * other.weight) for other in state.others)
    running_s = (state.released + HALF * workers.busy) * _mean_job_s(state)
    return max((running_s + before_s + others_s) / max(workers.total, 1), _cap_wait_s(state))


def _cap_wait_s(state: QueueState) -> float:
    """Seconds until so many of the tenant's own jobs have ended that its cap leaves room for this one."""
    if state.cap is None or state.running + state.own.jobs < state.cap:
        return 0.0
    return (HALF * state.running + state.own.jobs) * state.own.job_s / max(state.cap, 1)


def _mean_job_s(state: QueueState) -> float:
    """Of all tenants' jobs, those that run among them."""
    queues = [state.own, *state.others]
    jobs = sum(queue.jobs for queue in queues)
    return sum(queue.held_s for queue in queues) / jobs if jobs else state.own.job_s


def estimate_eta(
    state: QueueState, workers: Workers, own: Quantiles, ratios: dict[str, Quantiles | None]
) -> Eta | None:
    """When a job will be done; ``None`` while no worker takes jobs of its model.

    ``ratios`` are of earlier jobs, by kind: the time they took by the time estimated. Nine of ten jobs took
    no longer than their estimate times the second of these.
    """
    if not workers.total:
        return None
    waits_s = wait_s(state, workers, own.p50)
    kind = "queued" if waits_s else "idle"
    ratio = ratios.get(kind)
    raw_s = waits_s + own.p50
    if ratio is None:
        return Eta(raw_s, max(2 * waits_s + own.p90, raw_s), raw_s, kind)
    return Eta(raw_s * ratio.p50, raw_s * ratio.p90, raw_s, kind)
