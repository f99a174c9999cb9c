"""What tenants have used on each day, as `shared/jobs/lua/job.lua` counts it."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from shared import keys

if TYPE_CHECKING:
    from redis import Redis

EPOCH = date(1970, 1, 1)
#: What is counted, as it is stored after the tenant's id and a colon.
_COUNTED = ("jobs", "device_ms", "images", "image_bytes")


class DayUsage(BaseModel):
    """What one tenant has used on one day, by the time at which it ended."""

    day: date = Field(description="in UTC")
    tenant: str
    jobs: int = Field(description="jobs that ended, whatever their status")
    device_seconds: float = Field(
        description="time that devices worked for its jobs, of all attempts; a step that several jobs share "
        "counts for each of them"
    )
    images: int = Field(description="images of jobs that succeeded")
    image_bytes: int = Field(description="size of their files")


def read_usage(redis: "Redis", days: Sequence[date], tenant: str | None) -> list[DayUsage]:
    """The usage of each day and tenant that used something; ``tenant`` ``None``: of all tenants."""
    pipe = redis.pipeline(transaction=False)
    for day in days:
        key = keys.usage((day - EPOCH).days)
        if tenant is None:
            pipe.hgetall(key)
        else:
            pipe.hmget(key, [f"{tenant}:{name}" for name in _COUNTED])
    found = []
    for day, reply in zip(days, pipe.execute(), strict=True):
        counts = _by_tenant(reply) if tenant is None else _of_tenant(tenant, reply)
        found += [_usage(day, name, counted) for name, counted in counts]
    return found


def _by_tenant(stored: dict[str, str]) -> Iterator[tuple[str, dict[str, int]]]:
    counts: dict[str, dict[str, int]] = {}
    for field, value in stored.items():
        tenant, _, name = field.rpartition(":")
        counts.setdefault(tenant, {})[name] = int(value)
    yield from sorted(counts.items())


def _of_tenant(tenant: str, values: list[Any]) -> Iterator[tuple[str, dict[str, int]]]:
    counted = {name: int(value) for name, value in zip(_COUNTED, values, strict=True) if value is not None}
    if counted:
        yield tenant, counted


def _usage(day: date, tenant: str, counted: dict[str, int]) -> DayUsage:
    return DayUsage(
        day=day,
        tenant=tenant,
        jobs=counted.get("jobs", 0),
        device_seconds=counted.get("device_ms", 0) / 1000,
        images=counted.get("images", 0),
        image_bytes=counted.get("image_bytes", 0),
    )
