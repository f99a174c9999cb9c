"""Times of jobs as workers have measured them, the latest of each kind, in the control Redis.

By model: a step and all else of a job by its shape, the patch of a LoRA, the load of the model; and how the
estimates of ended jobs compare with what these took.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from shared import keys
from shared.families.base import FamilyFacts
from shared.jobs.spec import JobSpec
from shared.scheduling.cost import work_of

if TYPE_CHECKING:
    from redis import Redis

#: The latest times that are kept of each kind, and for how long after the last one.
KEPT, KEPT_S = 64, 30 * 86_400
#: The largest of fewer ratios may be exceeded by more than a tenth of further ones: nothing is corrected.
MIN_RATIOS = 9
P90 = 0.9
#: Whether a free worker could take the job at once.
ETA_KINDS = ("idle", "queued")
#: Of a model that nobody has run yet: a step of one row by its pixels, and all else of a job.
DEFAULT_PIXEL_STEP_S, DEFAULT_REST_S, DEFAULT_PATCH_S, DEFAULT_LOAD_S = 5e-8, 0.5, 0.05, 10.0


class JobTimes(NamedTuple):
    """What a worker has measured of a job that has succeeded."""

    step_s: float  # the median of its steps
    rest_s: float  # its device was used for so long besides: prompt, VAE, waits
    patch_s: float | None = None  # of one LoRA
    load_s: float | None = None  # of the model, if it was loaded for this job


class Quantiles(NamedTuple):
    """A time that half of the jobs do not exceed, and one that nine of ten do not."""

    p50: float
    p90: float

    def times(self, factor: float) -> "Quantiles":
        """Both of them multiplied."""
        return Quantiles(factor * self.p50, factor * self.p90)


def quantiles_of(values: Iterable[float], upper: float = P90) -> Quantiles | None:
    """Of measured values, so that a further one exceeds them in half and in a tenth of the cases at most.

    ``upper``: the share that the second one covers, 0.5 to 1.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    return Quantiles(_quantile(ordered, 0.5), _quantile(ordered, upper))


class MeasuredTimes:
    """Records and reads them."""

    def __init__(self, redis: "Redis", facts: Callable[[str], FamilyFacts | None]) -> None:
        """``facts`` of a model's family, by the model's name: web and workers must have the same."""
        self._redis = redis
        self._facts = facts

    def record(self, spec: JobSpec, times: JobTimes) -> None:
        """Note the times of a job that has succeeded; one round trip."""
        work = work_of(spec, self._facts(spec.model))
        values = {
            f"step:{work.shape}": times.step_s,
            "pixel_step": times.step_s / (work.rows * work.pixels),
            f"rest:{work.shape}": times.rest_s,
            "rest": times.rest_s,
            "patch": times.patch_s,
            "load": times.load_s,
        }
        pipe = self._redis.pipeline(transaction=False)
        for kind, value in values.items():
            if value is not None and math.isfinite(value):
                key = keys.measured(spec.model, kind)
                pipe.lpush(key, f"{value:.9g}")
                pipe.ltrim(key, 0, KEPT - 1)
                pipe.expire(key, KEPT_S)
        pipe.execute()

    def read(self, spec: JobSpec) -> "Measured":
        """All that tells something of a job; one round trip."""
        facts = self._facts(spec.model)
        shape = work_of(spec, facts).shape
        kinds = {
            "step": f"step:{shape}",
            "pixel_step": "pixel_step",
            "rest_alike": f"rest:{shape}",
            "rest": "rest",
            "patch": "patch",
            "load": "load",
        }
        ratios, levels = (
            [keys.measured(spec.model, f"{prefix}{kind}") for kind in ETA_KINDS]
            for prefix in (keys.ETA_RATIO, keys.ETA_QUANTILE)
        )
        pipe = self._redis.pipeline(transaction=False)
        for key in (*ratios, *(keys.measured(spec.model, kind) for kind in kinds.values())):
            pipe.lrange(key, 0, -1)
        for key in levels:
            pipe.get(key)
        found = pipe.execute()
        count, end = len(ETA_KINDS), len(found) - len(ETA_KINDS)
        times = [quantiles_of(_numbers(values)) for values in found[count:end]]
        corrections = [_ratio_quantiles(*each) for each in zip(found[:count], found[end:], strict=True)]
        return Measured(
            dict(zip(kinds, times, strict=True)), dict(zip(ETA_KINDS, corrections, strict=True)), facts
        )


def _ratio_quantiles(values: Sequence[Any], level: Any) -> Quantiles | None:
    """How long ended jobs took, by their estimates, if these are enough; ``level`` is that of `held.lua`."""
    ratios = list(_numbers(values))
    if len(ratios) < MIN_RATIOS:
        return None
    upper = next(iter(_numbers([level])), P90)
    return quantiles_of(ratios, min(max(upper, 0.5), 1.0))


class Measured:
    """Quantiles of the times of jobs that are like one."""

    def __init__(
        self,
        found: Mapping[str, Quantiles | None],
        ratios: dict[str, Quantiles | None],
        facts: FamilyFacts | None,
    ) -> None:
        self._found = found
        self._facts = facts  # of the model's family
        self.ratios = ratios  # how long ended jobs took, by their estimates; by kind of estimate

    def device_s(self, spec: JobSpec, *, is_loaded: bool = True) -> Quantiles:
        """Device-seconds of the job. ``is_loaded``: a worker has its model in memory."""
        work, found = work_of(spec, self._facts), self._found
        pixel_step = found["pixel_step"] or _exactly(DEFAULT_PIXEL_STEP_S)
        step = found["step"] or pixel_step.times(work.rows * work.pixels)
        parts = [step.times(work.steps), found["rest_alike"] or found["rest"] or _exactly(DEFAULT_REST_S)]
        parts.append((found["patch"] or _exactly(DEFAULT_PATCH_S)).times(len(spec.loras)))
        if not is_loaded:
            parts.append(found["load"] or _exactly(DEFAULT_LOAD_S))
        return Quantiles(sum(part.p50 for part in parts), sum(part.p90 for part in parts))


def _exactly(value: float) -> Quantiles:
    return Quantiles(value, value)


def _numbers(values: Iterable[Any]) -> Iterable[float]:
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            yield number


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The least value that ``share`` of further ones do not exceed, as in split conformal prediction."""
    rank = math.ceil(share * (len(ordered) + 1))
    return ordered[min(rank, len(ordered)) - 1]
